#include "coordinator/projection/loss_csv.h"

#include <fmt/format.h>

#include <algorithm>

namespace neolog::coordinator {
namespace {

/// "step,epoch,epoch_step": of the step counted from 1.
std::string StepColumns(const v1::RunSpec& spec, uint64_t step) {
  const uint64_t samples = uint64_t{spec.training().batch_size()} *
                           std::max(1u, spec.training().gradient_accumulation());
  const uint64_t pictures = static_cast<uint64_t>(spec.data().samples_size());
  const uint64_t epoch_steps = std::max<uint64_t>(1, pictures / std::max<uint64_t>(1, samples));
  const uint64_t index = step - 1;
  return fmt::format("{},{},{}", step, index / epoch_steps, index % epoch_steps);
}

}  // namespace

std::string LossCsvHeader() { return "step,epoch,epoch_step,loss,learn_rate,gradient_norm\n"; }

std::string LossCsvLine(const v1::RunSpec& spec, const v1::StepRecord& record) {
  return fmt::format("{},{:.7f},{},{}\n", StepColumns(spec, record.step()), record.loss(),
                     record.learning_rate(), record.gradient_norm());
}

std::string ValidationCsvHeader() { return "step,epoch,epoch_step,validation_loss\n"; }

std::string ValidationCsvLine(const v1::RunSpec& spec, uint64_t step, double loss) {
  return fmt::format("{},{:.7f}\n", StepColumns(spec, step), loss);
}

}  // namespace neolog::coordinator
