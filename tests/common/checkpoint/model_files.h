#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/checkpoint/checkpoint.h"
#include "common/tensor_file/tensor_file.h"

namespace neolog::testing {

/// A tensor that owns its numbers.
struct TestTensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
};
using TestTensors = std::map<std::string, TestTensor>;
/// Tensors by part ("unet") and key.
using TestModel = std::map<std::string, TestTensors>;

/// Configurations of a narrow model of each family, as a single file of it implies them: 32 groups,
/// heads of 64 channels (SD 1: eight).
ClipConfig NarrowClip(ModelFamily family, size_t encoder);
UNetConfig NarrowUNet(ModelFamily family);
VaeConfig NarrowVae(ModelFamily family);
/// Such a model with numbers that follow from part, key and place.
TestModel NarrowModel(ModelFamily family);
/// An SD 1 model like that with as many tokens as CLIP has, as a single file is taken to have.
TestModel NarrowModelOfClipsTokens();
/// Writes it as a diffusers folder, without tokenizer.
void WriteNarrowFolder(ModelFamily family, const TestModel& model, const std::string& folder);

/// The weights of a diffusers folder of plain safetensors files.
TestModel ReadModel(const std::string& folder);

/// The model as one file of the original layout: the blocks are numbered as the original code
/// makes them. SD 2's text encoder gets the layer that diffusers leaves out, and a projection; both
/// hold NaN, so that whoever uses them is found out. Leftovers of training are added.
TestTensors OriginalLayout(ModelFamily family, const TestModel& model);

/// Writes a safetensors file, in float32 or float16.
void WriteTensors(const TestTensors& tensors, const std::string& path,
                  TensorType type = TensorType::kFloat32,
                  const std::map<std::string, std::string>& metadata = {});

/// Writes what torch.save writes of a Lightning checkpoint, {"state_dict": tensors, "global_step":
/// 7}: a zip archive, or the format of torch before 1.6.
void WriteTorchFile(const TestTensors& tensors, const std::string& path, bool legacy);

/// Writes text, making folders.
void WriteTextFile(const std::string& path, const std::string& text);

}  // namespace neolog::testing
