#include "common/base/embedding_format.h"

#include <fmt/format.h>

namespace neolog {

std::string FormatProblem(EmbeddingFormat format, size_t encoders) {
  const EmbeddingFormatFacts& facts = FactsOf(format);
  const int count = static_cast<int>(encoders);
  if (facts.format == EmbeddingFormat::kOriginal)
    return "the format 'original' is only read: use a1111, which the same programs read";
  if (count >= facts.min_encoders && count <= facts.max_encoders) return "";
  return count > facts.max_encoders
             ? fmt::format(
                   "the format '{}' holds rows for one text encoder, these are for {}: use "
                   "sdxl",
                   facts.name, count)
             : fmt::format(
                   "the format '{}' holds rows for two text encoders, these are for one: "
                   "use a1111, diffusers or kohya",
                   facts.name);
}

}  // namespace neolog
