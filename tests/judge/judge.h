#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace neolog::judge {

/// Side of the pictures that the judge looks at.
inline constexpr int kSide = 64;

/// What the judge can say of one thing, in the order of its logits.
struct Question {
  std::string name;  // "shape", "colour", "pattern", "background"
  std::vector<std::string> answers;
};

/// What a picture shows: the answer to each question, by its name.
using Verdict = std::map<std::string, std::string>;

/// The demo's judge: a small convolutional network (README.md) that says what a 64 x 64 picture of
/// the demo's world shows. Immutable; safe for use from any thread.
class Judge {
 public:
  /// From judge.safetensors. NotFound and DataLoss name the file; DataLoss also when a tensor has
  /// another shape.
  static absl::StatusOr<std::unique_ptr<Judge>> Load(const std::string& path);

  /// Logits of all questions, one after the other. `rgb` is [64, 64, 3], rows from the top.
  std::vector<float> Logits(std::span<const uint8_t> rgb) const;
  /// The largest logit of each question.
  Verdict Look(std::span<const uint8_t> rgb) const;

  const std::vector<Question>& questions() const { return questions_; }

  /// "purple dotted triangle", in any order, as answers by question; a background may be named too.
  /// InvalidArgument for a word that is no answer, and for two answers to one question.
  absl::StatusOr<Verdict> ParseExpectation(std::string_view text) const;

 private:
  struct Layer {
    int inputs, outputs, kernel, stride;
    std::vector<float> weight;  // [outputs, inputs, kernel, kernel]
    std::vector<float> bias;
  };

  std::vector<Layer> layers_;
  std::vector<float> head_weight_;  // [answers, 2 * outputs of the last layer]
  std::vector<float> head_bias_;
  std::vector<Question> questions_;
};

/// Whether every expected answer was given.
bool Agrees(const Verdict& verdict, const Verdict& expected);
/// "purple dotted triangle on navy".
std::string Describe(const Verdict& verdict);

}  // namespace neolog::judge
