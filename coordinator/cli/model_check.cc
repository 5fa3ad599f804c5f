#include "coordinator/cli/model_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/storage/model_fingerprint.h"
#include "common/tensor_file/safetensors.h"

namespace neolog::cli {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr char kTokenEmbedding[] = "text_model.embeddings.token_embedding.weight";
constexpr uint64_t kMaxConfigBytes = 1 << 20;

/// The object in a configuration file; a problem and an empty one when there is none.
Json ReadConfig(const fs::path& path, std::vector<std::string>* problems) {
  std::error_code error;
  if (!fs::exists(path, error)) {
    problems->push_back(fmt::format("'{}' is missing", path.string()));
    return Json::object();
  }
  if (const auto size = fs::file_size(path, error); error || size > kMaxConfigBytes) {
    problems->push_back(fmt::format("'{}' cannot be read as a configuration: {}", path.string(),
                                    error ? error.message() : "it is larger than 1 MiB"));
    return Json::object();
  }
  std::ifstream file(path);
  Json json = Json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (json.is_object()) return json;
  problems->push_back(fmt::format("'{}' is not a JSON object", path.string()));
  return Json::object();
}

uint32_t NumberIn(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_number_unsigned() ? found->get<uint32_t>() : 0;
}

std::vector<fs::path> SafetensorsIn(const fs::path& folder) {
  std::vector<fs::path> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".safetensors") found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

/// The text encoder's width from its weights, or 0.
uint32_t WidthOfWeights(const SafetensorsFile& file) {
  const auto found = file.tensors().find(kTokenEmbedding);
  return found != file.tensors().end() && found->second.shape.size() == 2
             ? static_cast<uint32_t>(found->second.shape[1])
             : 0;
}

}  // namespace

ModelFacts InspectModel(const std::string& folder, std::vector<std::string>* problems) {
  ModelFacts facts;
  const fs::path root(folder);
  std::error_code error;
  if (!fs::is_directory(root, error)) {
    problems->push_back(
        fmt::format("there is no model folder '{}'; expected a diffusers folder with "
                    "model_index.json, unet/, vae/, text_encoder/ and "
                    "tokenizer/",
                    folder));
    return facts;
  }
  if (!fs::exists(root / "model_index.json", error)) {
    const auto single = SafetensorsIn(root);
    problems->push_back(fmt::format(
        "'{}' is not a diffusers folder: model_index.json is missing{}", folder,
        single.empty()
            ? ""
            : fmt::format(" (single-file models such as '{}' have to be converted first)",
                          single.front().filename().string())));
    return facts;
  }
  const size_t before = problems->size();
  ReadConfig(root / "model_index.json", problems);
  const Json text = ReadConfig(root / "text_encoder" / "config.json", problems);
  for (const char* part : {"unet", "vae"}) ReadConfig(root / part / "config.json", problems);
  facts.text_width = NumberIn(text, "hidden_size");
  facts.positions = NumberIn(text, "max_position_embeddings");
  if (facts.positions == 0) facts.positions = 77;

  for (const char* part : {"text_encoder", "unet", "vae"}) {
    const auto weights = SafetensorsIn(root / part);
    if (weights.empty()) {
      problems->push_back(fmt::format(
          "'{}' has no weights: expected a .safetensors file (pickled .bin weights are not read)",
          (root / part).string()));
    }
    for (const auto& path : weights) {
      const auto file = SafetensorsFile::Open(path.string());
      if (!file.ok()) {
        problems->push_back(std::string(file.status().message()));
        continue;
      }
      if (std::string_view(part) != "text_encoder") continue;
      const uint32_t width = WidthOfWeights(**file);
      if (facts.text_width == 0) facts.text_width = width;
      if (width != 0 && width != facts.text_width) {
        problems->push_back(fmt::format(
            "'{}' has token embeddings of width {}, but config.json says hidden_size {}",
            path.string(), width, facts.text_width));
      }
    }
  }
  for (const char* name : {"vocab.json", "merges.txt"}) {
    if (!fs::exists(root / "tokenizer" / name, error)) {
      problems->push_back(fmt::format("'{}' is missing", (root / "tokenizer" / name).string()));
    }
  }
  if (facts.text_width == 0 && problems->size() == before) {
    problems->push_back(fmt::format("the text encoder's width is unknown: '{}' has no hidden_size",
                                    (root / "text_encoder" / "config.json").string()));
  }

  facts.files = ModelFiles(folder);
  return facts;
}

}  // namespace neolog::cli
