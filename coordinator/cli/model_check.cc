#include "coordinator/cli/model_check.h"

#include "common/checkpoint/tokenizers.h"

namespace neolog::cli {

ModelFacts InspectModel(const std::string& path, const CheckpointOptions& options,
                        const MemoryQuestion& memory, std::vector<std::string>* problems) {
  ModelFacts facts;
  const size_t before = problems->size();
  const Checkpoint checkpoint = InspectCheckpoint(path, options, problems);
  for (const ClipConfig& clip : checkpoint.clips)
    facts.text_widths.push_back(static_cast<uint32_t>(clip.hidden_size));
  if (!checkpoint.clips.empty())
    facts.positions = static_cast<uint32_t>(checkpoint.clips[0].max_position_embeddings);
  facts.path = checkpoint.path;
  facts.single_file = checkpoint.single_file;
  facts.files = checkpoint.files;
  facts.notes = checkpoint.notes;
  if (problems->size() == before) {
    MemoryQuestion question = memory;
    if (question.side == 0) question.side = checkpoint.image_size;
    facts.memory = EstimateMemory(checkpoint, question);
  }
  auto tokenizers = LoadTokenizers(checkpoint);
  if (!tokenizers.ok()) {
    problems->push_back(std::string(tokenizers.status().message()));
  } else if (!tokenizers->empty()) {
    facts.tokenizers = *std::move(tokenizers);
  } else if (problems->size() != before) {
    // The word and the prompts can be checked all the same.
    if (auto tokenizer = Tokenizer::FromFolder(checkpoint.path); tokenizer.ok())
      facts.tokenizers.push_back(*std::move(tokenizer));
  }
  return facts;
}

}  // namespace neolog::cli
