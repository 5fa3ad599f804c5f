#include "worker/generate/draw_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "common/checkpoint/checkpoint.h"
#include "common/checkpoint/tokenizers.h"
#include "common/storage/durable_write.h"
#include "common/storage/posix_file_system.h"
#include "common/text/text_file.h"
#include "worker/diffusion/model_arguments.h"
#include "worker/diffusion/samplers.h"
#include "worker/generate/draw.h"
#include "worker/torch_support/runtime.h"

namespace neolog::generate {
namespace {

constexpr int kUnexpected = 1, kBadInput = 2;
constexpr uint64_t kMaxPromptsBytes = 16 << 20, kMaxEmbeddingBytes = 256 << 20;

struct Arguments {
  std::string model, prompts_file, out, embedding, word;
  diffusion::ModelOptions options;
  DrawList list;
  int threads = 1;
};

absl::Status Draw(Arguments arguments) {
  const std::unique_ptr<FileSystem> fs = MakePosixFileSystem();
  ASSIGN_OR_RETURN(const std::string prompts, fs->Read(arguments.prompts_file, kMaxPromptsBytes));
  for (const std::string_view line : SplitLines(prompts)) {
    if (line.find_first_not_of(" \t") != std::string_view::npos)
      arguments.list.prompts.emplace_back(line);
  }
  if (arguments.list.prompts.empty()) {
    return InvalidArgument(
        fmt::format("'{}' holds no prompt; write one a line", arguments.prompts_file));
  }
  if (!arguments.embedding.empty()) {
    ASSIGN_OR_RETURN(const std::string bytes, fs->Read(arguments.embedding, kMaxEmbeddingBytes));
    ASSIGN_OR_RETURN(arguments.list.embedding, ReadEmbedding(bytes, arguments.embedding));
    if (!arguments.word.empty()) arguments.list.embedding->name = arguments.word;
  }
  RETURN_IF_ERROR(torch_support::SetUpRuntime({.threads = arguments.threads}));
  ASSIGN_OR_RETURN(const Checkpoint checkpoint,
                   OpenCheckpoint(arguments.model, arguments.options.checkpoint));
  ASSIGN_OR_RETURN(const auto model, diffusion::LoadModel(checkpoint, arguments.options));
  ASSIGN_OR_RETURN(const auto tokenizers, LoadTokenizers(checkpoint));
  RETURN_IF_ERROR(fs->CreateDirectories(arguments.out));
  nlohmann::json pictures = nlohmann::json::array();
  RETURN_IF_ERROR(DrawAll(*model, tokenizers, arguments.list, [&](Drawn drawn) {
    const std::string file = fmt::format("{:04}.png", pictures.size());
    pictures.push_back({{"file", file}, {"prompt", drawn.prompt}, {"seed", drawn.seed}});
    return WriteFileDurably(*fs, JoinPath(arguments.out, file), drawn.png);
  }));
  return WriteFileDurably(*fs, JoinPath(arguments.out, "pictures.json"), pictures.dump(1) + "\n");
}

}  // namespace

int RunDrawCommand(int argc, const char* const* argv) {
  Arguments arguments;
  CLI::App app("Draws the prompts of a file, with or without a learned word.",
               "neolog-worker draw");
  diffusion::AddModelArguments(app, &arguments.model, &arguments.options);
  app.add_option("--prompts-file", arguments.prompts_file, "Prompts, one a line")
      ->required()
      ->type_name("FILE");
  app.add_option("--out", arguments.out, "Folder for the pictures; made when it is missing")
      ->required()
      ->type_name("DIR");
  app.add_option("--embedding", arguments.embedding,
                 "The learned word, an embedding file (.pt or .safetensors)")
      ->type_name("FILE");
  app.add_option("--word", arguments.word,
                 "How the word is written in the prompts [the embedding's name]")
      ->type_name("NAME")
      ->needs("--embedding");
  app.add_option("--negative", arguments.list.negative_prompt, "What to avoid")->type_name("TEXT");
  const std::map<std::string, LongPrompts> lengths{{"truncate", LongPrompts::kTruncate},
                                                   {"chunk", LongPrompts::kChunk}};
  app.add_option(
         "--long-prompts", arguments.list.rules.long_prompts,
         "A prompt's end beyond 75 tokens: truncate leaves it out, as diffusers does; chunk "
         "keeps it, as A1111 does [truncate]")
      ->transform(CLI::CheckedTransformer(lengths))
      ->type_name("HOW");
  const std::map<std::string, Emphasis> syntaxes{{"none", Emphasis::kNone},
                                                 {"a1111", Emphasis::kA1111}};
  app.add_option("--emphasis", arguments.list.rules.emphasis,
                 "Brackets in prompts: none takes them for text; a1111 weighs what stands in them, "
                 "(more:1.2) and [less], and BREAK begins a new chunk [none]")
      ->transform(CLI::CheckedTransformer(syntaxes))
      ->type_name("SYNTAX");
  app.add_option("--seed", arguments.list.seed,
                 "Seed of the first prompt; the n-th has seed + n [1]")
      ->type_name("N");
  app.add_option("--sampler", arguments.list.sampler, "euler_a or ddim [euler_a]")
      ->check(CLI::IsMember(diffusion::SamplerNames()))
      ->type_name("NAME");
  app.add_option("--steps", arguments.list.steps, "Sampling steps [20]")
      ->check(CLI::Range(1, 1000))
      ->type_name("N");
  app.add_option("--cfg", arguments.list.cfg, "Guidance [7]")
      ->check(CLI::Range(0.0, 100.0))
      ->type_name("X");
  app.add_option("--size", arguments.list.side, "Pixels of a side [the model's own]")
      ->check(CLI::Range(8, 4096))
      ->type_name("PIXELS");
  app.add_option("--threads", arguments.threads, "Threads of one operation [1]")
      ->check(CLI::Range(1, 1024))
      ->type_name("N");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : kBadInput;
  }
  const absl::Status status = Draw(std::move(arguments));
  if (status.ok()) return 0;
  std::cerr << "neolog-worker draw: " << ToStd(status.message()) << "\n";
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied: return kBadInput;
    default: return kUnexpected;
  }
}

}  // namespace neolog::generate
