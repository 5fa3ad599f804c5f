#include "worker/diffusion/model_arguments.h"

#include <map>

namespace neolog::diffusion {

void AddModelArguments(CLI::App& app, std::string* path, ModelOptions* options) {
  app.add_option("--model", *path, "A diffusers folder or a single file")
      ->required()
      ->type_name("PATH");
  app.add_option("--vae", options->checkpoint.vae_path,
                 "A VAE in place of the model's own: a file or a diffusers folder")
      ->type_name("PATH");
  const std::map<std::string, bool> predictions{{"epsilon", false}, {"v_prediction", true}};
  app.add_option_function<bool>(
         "--prediction",
         [options](const bool& velocity) { options->checkpoint.v_prediction = velocity; },
         "What the UNet predicts, epsilon or v_prediction [as the model's files say]")
      ->transform(CLI::CheckedTransformer(predictions))
      ->type_name("WHAT");
  app.add_option("--device", options->device, "cpu or cuda:N [cpu]")->type_name("DEVICE");
  const std::map<std::string, Precision> precisions{
      {"fp32", Precision::kFloat32}, {"bf16", Precision::kBFloat16}, {"fp16", Precision::kFloat16}};
  app.add_option("--dtype", options->precision,
                 "What the frozen model computes in: fp32, bf16, fp16 [fp32]")
      ->transform(CLI::CheckedTransformer(precisions))
      ->type_name("TYPE");
}

}  // namespace neolog::diffusion
