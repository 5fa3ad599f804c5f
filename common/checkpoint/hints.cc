#include "common/checkpoint/hints.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <memory>
#include <string_view>

#include "common/config/scalars.h"
#include "common/config/yaml_tree.h"

namespace neolog {
namespace {

using config::YamlNode;

constexpr int64_t kLatentPixels = 8;  // of a latent position, in every original configuration
constexpr double kMaxSide = 1 << 16;

const YamlNode* Child(const YamlNode* node, std::string_view key) {
  if (node == nullptr || node->kind != YamlNode::Kind::kMap) return nullptr;
  for (const YamlNode::Entry& entry : node->entries) {
    if (entry.key == key) return entry.value.get();
  }
  return nullptr;
}

const YamlNode* At(const YamlNode* node, std::initializer_list<std::string_view> path) {
  for (const std::string_view key : path) node = Child(node, key);
  return node;
}

// Reads scalars and keeps the first that is not of its kind.
class YamlReader {
 public:
  explicit YamlReader(std::string name) : name_(std::move(name)) {}

  std::optional<double> Number(const YamlNode* node, std::string_view key, double low,
                               double high) {
    if (node == nullptr || node->kind == YamlNode::Kind::kNull) return std::nullopt;
    const auto value = config::ParseNumber(node->text);
    if (node->kind == YamlNode::Kind::kScalar && value.ok() && *value >= low && *value <= high)
      return *value;
    Error(*node, key, fmt::format("expected a number from {} to {}", low, high));
    return std::nullopt;
  }
  std::optional<int64_t> Integer(const YamlNode* node, std::string_view key, double high) {
    const auto value = Number(node, key, 1, high);
    if (!value) return std::nullopt;
    if (*value == static_cast<double>(static_cast<int64_t>(*value)))
      return static_cast<int64_t>(*value);
    Error(*node, key, "expected an integer");
    return std::nullopt;
  }
  std::optional<bool> Bool(const YamlNode* node, std::string_view key) {
    if (node == nullptr || node->kind == YamlNode::Kind::kNull) return std::nullopt;
    const auto value = config::ParseBool(node->text);
    if (node->kind == YamlNode::Kind::kScalar && value.ok()) return *value;
    Error(*node, key, "expected true or false");
    return std::nullopt;
  }
  void Error(const YamlNode& node, std::string_view key, std::string_view expected) {
    if (!error_.ok()) return;
    error_ = InvalidArgument(fmt::format("'{}' line {}: '{}' has '{}'; {}", name_,
                                         node.position.line, key, node.text, expected));
  }
  const absl::Status& error() const { return error_; }

 private:
  std::string name_;
  absl::Status error_;
};

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : static_cast<char>(c);
  });
  return text;
}

}  // namespace

absl::StatusOr<ModelHints> HintsOfYaml(const std::string& text, const std::string& name) {
  const config::YamlDocument document = config::ParseYaml(text);
  if (document.root == nullptr) {
    const auto& problems = document.problems;
    return InvalidArgument(
        fmt::format("'{}' line {}: {}", name, problems.empty() ? 0 : problems[0].position.line,
                    problems.empty() ? "it is no YAML document" : problems[0].message));
  }
  ModelHints hints;
  YamlReader reader(name);
  const YamlNode* params = At(document.root.get(), {"model", "params"});
  if (const YamlNode* node = Child(params, "parameterization")) {
    if (node->text == "v" || node->text == "eps") {
      hints.v_prediction = node->text == "v";
      hints.v_prediction_source = fmt::format("'{}' has parameterization \"{}\"", name, node->text);
    } else {
      reader.Error(*node, "parameterization", "expected \"eps\" or \"v\"");
    }
  }
  // SDXL's way to say it.
  if (const YamlNode* node =
          At(params, {"denoiser_config", "params", "scaling_config", "target"})) {
    for (const auto& [ending, v] :
         {std::pair(".VScaling", true), std::pair(".EpsScaling", false)}) {
      if (!std::string_view(node->text).ends_with(ending)) continue;
      hints.v_prediction = v;
      hints.v_prediction_source = fmt::format("'{}' has scaling_config {}", name, node->text);
    }
  }
  hints.scaling_factor = reader.Number(Child(params, "scale_factor"), "scale_factor", 1e-6, 1e6);
  hints.beta_start = reader.Number(Child(params, "linear_start"), "linear_start", 1e-12, 0.999);
  hints.beta_end = reader.Number(Child(params, "linear_end"), "linear_end", 1e-12, 0.999);
  hints.timesteps = reader.Integer(Child(params, "timesteps"), "timesteps", 100000);
  const YamlNode* unet = At(params, {"unet_config", "params"});
  if (unet == nullptr) unet = At(params, {"network_config", "params"});
  hints.linear_projection =
      reader.Bool(Child(unet, "use_linear_in_transformer"), "use_linear_in_transformer");
  // -1 stands for "not this one of the two".
  const auto positive = [](const YamlNode* node) {
    return node != nullptr && node->text == "-1" ? nullptr : node;
  };
  hints.heads = reader.Integer(positive(Child(unet, "num_heads")), "num_heads", 4096);
  hints.head_channels =
      reader.Integer(positive(Child(unet, "num_head_channels")), "num_head_channels", 4096);
  // Every published file has 64 here, the one for 768 pixels too: 64 says nothing. (The UNet's own
  // image_size is 32 in all of them, and unused.)
  const auto side = reader.Integer(Child(params, "image_size"), "image_size", kMaxSide / 8);
  if (side && *side != 64) {
    hints.image_size = *side * kLatentPixels;
    hints.image_size_source = fmt::format("'{}' has image_size {}", name, *side);
  }
  RETURN_IF_ERROR(reader.error());
  return hints;
}

ModelHints HintsOfFile(const std::map<std::string, std::string>& metadata,
                       const WeightTable& tensors) {
  ModelHints hints;
  const auto text = [&](const char* key) {
    const auto it = metadata.find(key);
    return it == metadata.end() ? std::string() : Lower(it->second);
  };
  const auto say = [&](bool v, std::string source) {
    hints.v_prediction = v;
    hints.v_prediction_source = std::move(source);
  };
  // The weakest first: later ones replace earlier ones.
  const std::string architecture = text("modelspec.architecture");
  if (architecture.find("768-v") != std::string::npos) {
    say(true, fmt::format("the file's modelspec.architecture is \"{}\"", architecture));
  } else if (architecture.find("v2-512") != std::string::npos) {
    say(false, fmt::format("the file's modelspec.architecture is \"{}\"", architecture));
  }
  if (tensors.count("v_pred") != 0) say(true, "the file has a key 'v_pred'");
  // The step at which the first SD 2 model for 512 pixels was published: diffusers goes by it, too.
  if (text("global_step") == "875000")
    say(false, "the file has global_step 875000, as SD 2.0's base model");
  if (text("ss_v_parameterization") == "true") say(true, "the file has ss_v_parameterization");
  const std::string prediction = text("modelspec.prediction_type");
  if (prediction == "v" || prediction == "v_prediction" || prediction == "epsilon") {
    say(prediction != "epsilon",
        fmt::format("the file's modelspec.prediction_type is \"{}\"", prediction));
  }
  // "768x768" or "768".
  const std::string resolution = text("modelspec.resolution");
  int64_t side = 0;
  size_t digits = 0;
  while (digits < resolution.size() && digits < 5 && resolution[digits] >= '0' &&
         resolution[digits] <= '9') {
    side = 10 * side + (resolution[digits++] - '0');
  }
  if (side > 0 && (digits == resolution.size() || resolution[digits] == 'x')) {
    hints.image_size = side;
    hints.image_size_source = fmt::format("the file's modelspec.resolution is \"{}\"", resolution);
  }
  return hints;
}

ModelHints Merge(ModelHints first, const ModelHints& second) {
  if (!first.v_prediction) {
    first.v_prediction = second.v_prediction;
    first.v_prediction_source = second.v_prediction_source;
  }
  if (!first.image_size) {
    first.image_size = second.image_size;
    first.image_size_source = second.image_size_source;
  }
  const auto fill = [](auto* mine, const auto& other) {
    if (!*mine) *mine = other;
  };
  fill(&first.scaling_factor, second.scaling_factor);
  fill(&first.heads, second.heads);
  fill(&first.head_channels, second.head_channels);
  fill(&first.linear_projection, second.linear_projection);
  fill(&first.beta_start, second.beta_start);
  fill(&first.beta_end, second.beta_end);
  fill(&first.timesteps, second.timesteps);
  return first;
}

}  // namespace neolog
