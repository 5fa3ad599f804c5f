#include "tests/judge/judge.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "common/tensor_file/half.h"
#include "common/tensor_file/safetensors.h"

namespace neolog::judge {
namespace {

struct Shape {
  int inputs, outputs, kernel, stride;
};
constexpr std::array<Shape, 6> kLayers = {{{3, 16, 5, 2},
                                           {16, 32, 3, 2},
                                           {32, 48, 3, 1},
                                           {48, 64, 3, 2},
                                           {64, 64, 3, 1},
                                           {64, 96, 3, 2}}};
constexpr std::array<std::string_view, 4> kQuestions = {"shape", "colour", "pattern", "background"};

/// Channels of square planes, [channels, side, side].
struct Planes {
  int channels = 0;
  int side = 0;
  std::vector<float> values;
  float at(int channel, int y, int x) const {
    return values[static_cast<size_t>((channel * side + y) * side + x)];
  }
};

/// Convolution with padding kernel / 2, then ReLU.
Planes Convolve(const Planes& in, const Shape& shape, const std::vector<float>& weight,
                const std::vector<float>& bias) {
  Planes out{shape.outputs, (in.side + shape.stride - 1) / shape.stride, {}};
  out.values.reserve(static_cast<size_t>(out.channels * out.side * out.side));
  const int padding = shape.kernel / 2;
  for (int o = 0; o < out.channels; ++o) {
    for (int y = 0; y < out.side; ++y) {
      for (int x = 0; x < out.side; ++x) {
        float sum = bias[static_cast<size_t>(o)];
        for (int i = 0; i < in.channels; ++i) {
          const float* kernel =
              &weight[static_cast<size_t>((o * in.channels + i) * shape.kernel * shape.kernel)];
          for (int ky = 0; ky < shape.kernel; ++ky) {
            const int from_y = y * shape.stride + ky - padding;
            if (from_y < 0 || from_y >= in.side) continue;
            for (int kx = 0; kx < shape.kernel; ++kx) {
              const int from_x = x * shape.stride + kx - padding;
              if (from_x >= 0 && from_x < in.side)
                sum += kernel[ky * shape.kernel + kx] * in.at(i, from_y, from_x);
            }
          }
        }
        out.values.push_back(std::max(sum, 0.0f));
      }
    }
  }
  return out;
}

absl::StatusOr<std::vector<float>> Take(const SafetensorsFile& file, const std::string& name,
                                        const std::vector<int64_t>& shape) {
  const auto it = file.tensors().find(name);
  if (it == file.tensors().end() || it->second.shape != shape) {
    return DataLoss(
        fmt::format("the tensor '{}' is missing or is not [{}]", name, fmt::join(shape, ", ")));
  }
  return ToFloat32(it->second);
}

absl::StatusOr<std::vector<Question>> ParseQuestions(const SafetensorsFile& file) {
  const auto text = file.metadata().find("neolog.judge");
  if (text == file.metadata().end()) return DataLoss("the metadata has no 'neolog.judge'");
  const auto object = nlohmann::json::parse(text->second, nullptr, false);
  std::vector<Question> questions;
  for (std::string_view name : kQuestions) {
    if (!object.is_object() || !object.contains(name) || !object[std::string(name)].is_array()) {
      return DataLoss(fmt::format("the metadata 'neolog.judge' has no list '{}'", name));
    }
    Question question{std::string(name), {}};
    for (const auto& answer : object[std::string(name)]) {
      if (!answer.is_string())
        return DataLoss(
            fmt::format("the metadata 'neolog.judge': '{}' holds more than names", name));
      question.answers.push_back(answer.get<std::string>());
    }
    questions.push_back(std::move(question));
  }
  return questions;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Judge>> Judge::Load(const std::string& path) {
  ASSIGN_OR_RETURN(const auto file, SafetensorsFile::Open(path));
  const std::string context = fmt::format("reading the judge '{}'", path);
  auto judge = std::make_unique<Judge>();
  for (size_t i = 0; i < kLayers.size(); ++i) {
    const Shape& s = kLayers[i];
    Layer layer{s.inputs, s.outputs, s.kernel, s.stride, {}, {}};
    ASSIGN_OR_RETURN_WITH(
        layer.weight,
        Take(*file, fmt::format("conv.{}.weight", i), {s.outputs, s.inputs, s.kernel, s.kernel}),
        context);
    ASSIGN_OR_RETURN_WITH(layer.bias, Take(*file, fmt::format("conv.{}.bias", i), {s.outputs}),
                          context);
    judge->layers_.push_back(std::move(layer));
  }
  ASSIGN_OR_RETURN_WITH(judge->questions_, ParseQuestions(*file), context);
  int64_t answers = 0;
  for (const Question& question : judge->questions_)
    answers += static_cast<int64_t>(question.answers.size());
  ASSIGN_OR_RETURN_WITH(judge->head_weight_,
                        Take(*file, "head.weight", {answers, 2 * kLayers.back().outputs}), context);
  ASSIGN_OR_RETURN_WITH(judge->head_bias_, Take(*file, "head.bias", {answers}), context);
  return judge;
}

std::vector<float> Judge::Logits(std::span<const uint8_t> rgb) const {
  Planes planes{3, kSide, std::vector<float>(3 * kSide * kSide)};
  for (size_t i = 0; i < rgb.size(); ++i) {
    planes.values[i % 3 * kSide * kSide + i / 3] = static_cast<float>(rgb[i]) / 127.5f - 1.0f;
  }
  for (const Layer& layer : layers_) {
    planes = Convolve(planes, {layer.inputs, layer.outputs, layer.kernel, layer.stride},
                      layer.weight, layer.bias);
  }
  const auto positions = static_cast<size_t>(planes.side * planes.side);
  const auto channels = static_cast<size_t>(planes.channels);
  std::vector<float> features(2 * channels);
  for (size_t c = 0; c < channels; ++c) {
    const auto plane = planes.values.begin() + static_cast<std::ptrdiff_t>(c * positions);
    float sum = 0;
    for (size_t p = 0; p < positions; ++p) sum += plane[static_cast<std::ptrdiff_t>(p)];
    features[c] = sum / static_cast<float>(positions);
    features[channels + c] =
        *std::max_element(plane, plane + static_cast<std::ptrdiff_t>(positions));
  }
  std::vector<float> logits = head_bias_;
  for (size_t a = 0; a < logits.size(); ++a) {
    for (size_t f = 0; f < features.size(); ++f)
      logits[a] += head_weight_[a * features.size() + f] * features[f];
  }
  return logits;
}

Verdict Judge::Look(std::span<const uint8_t> rgb) const {
  const std::vector<float> logits = Logits(rgb);
  Verdict verdict;
  auto first = logits.begin();
  for (const Question& question : questions_) {
    const auto last = first + static_cast<std::ptrdiff_t>(question.answers.size());
    verdict[question.name] =
        question.answers[static_cast<size_t>(std::max_element(first, last) - first)];
    first = last;
  }
  return verdict;
}

absl::StatusOr<Verdict> Judge::ParseExpectation(std::string_view text) const {
  Verdict expected;
  std::istringstream words{std::string(text)};
  for (std::string word; words >> word;) {
    const auto question =
        std::find_if(questions_.begin(), questions_.end(), [&](const Question& q) {
          return std::find(q.answers.begin(), q.answers.end(), word) != q.answers.end();
        });
    if (question == questions_.end()) {
      std::string known;
      for (const Question& q : questions_)
        known += fmt::format("; {}: {}", q.name, fmt::join(q.answers, ", "));
      return InvalidArgument(fmt::format("the judge does not know '{}'{}", word, known));
    }
    if (!expected.emplace(question->name, word).second) {
      return InvalidArgument(fmt::format("'{}' and '{}' are two answers to one question ({})",
                                         expected[question->name], word, question->name));
    }
  }
  if (expected.empty())
    return InvalidArgument("nothing is expected: say for example 'purple dotted triangle'");
  return expected;
}

bool Agrees(const Verdict& verdict, const Verdict& expected) {
  return std::all_of(expected.begin(), expected.end(), [&](const auto& answer) {
    const auto it = verdict.find(answer.first);
    return it != verdict.end() && it->second == answer.second;
  });
}

std::string Describe(const Verdict& verdict) {
  std::string text;
  for (const char* question : {"colour", "pattern", "shape"}) {
    const auto it = verdict.find(question);
    if (it != verdict.end()) text += (text.empty() ? "" : " ") + it->second;
  }
  const auto background = verdict.find("background");
  if (background != verdict.end()) text += (text.empty() ? "on " : " on ") + background->second;
  return text;
}

}  // namespace neolog::judge
