#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/embedding_format.h"
#include "common/storage/file_system.h"

// The folder of one run, `<log_dir>/<run name>/`. This module owns every name in it; nobody else
// builds or takes apart one.
//
//   run.json                              whose folder this is (the run's id)
//   settings.yaml, settings.json          the settings, defaults filled in
//   textual_inversion_loss.csv            the losses, with A1111's name and columns first
//   validation_loss.csv                   the validation losses, when the run asks for them
//   embeddings/<word>-<step>.pt           partial embeddings, A1111 and diffusers
//   embeddings/<word>-<step>.safetensors
//   previews/<word>-<step>-<index>.png    drawn while training; index counts the prompts from 0
//   <word>.pt, <word>.safetensors         the result
//   <word>.png                            the same, in pictures (the format png)
//
// A1111 takes a file's name as the word to type, so files carry the word's name, not the run's; see
// FileStem.

namespace neolog {

/// What a file of the folder is.
enum class RunFileKind {
  kMarker,
  kSettingsYaml,
  kSettingsJson,
  kLossCsv,
  kValidationCsv,
  kPartialEmbedding,
  kPreview,
  kFinalEmbedding,
};

/// One name of the folder, taken apart.
struct RunFile {
  RunFileKind kind = RunFileKind::kMarker;
  /// The word's stem; empty for files that have none.
  std::string stem;
  /// Of partial embeddings and previews.
  uint64_t step = 0;
  /// Of previews.
  uint32_t index = 0;
  /// Of embeddings: the first format with the file's extension, which is all that a name tells.
  EmbeddingFormat format = EmbeddingFormat::kA1111;

  bool operator==(const RunFile&) const = default;
};

/// The word as part of a file name: without the characters that some system refuses in names (`< >
/// : " / \ | ? *` and control characters), without dots and spaces at either end, at most 100
/// bytes, cut between UTF-8 characters; "word" when nothing is left. "<cat-toy>" gives "cat-toy".
std::string FileStem(std::string_view word);

/// True for names that may be a run's folder: 1 to 100 of the letters A-Z and a-z, digits, '.', '_'
/// and '-', beginning with a letter, a digit or '_'.
bool IsRunName(std::string_view name);

/// The names of one run's folder.
class RunDirectory {
 public:
  /// `run_name` must be a run name (IsRunName); `word` is the word as it stands in prompts.
  RunDirectory(std::string_view log_dir, std::string_view run_name, std::string_view word);

  const std::string& path() const { return path_; }
  std::string Marker() const;
  std::string SettingsYaml() const;
  std::string SettingsJson() const;
  std::string LossCsv() const;
  std::string ValidationCsv() const;
  std::string EmbeddingsFolder() const;
  std::string PreviewsFolder() const;
  std::string PartialEmbedding(uint64_t step, EmbeddingFormat format) const;
  std::string Preview(uint64_t step, uint32_t index) const;
  std::string FinalEmbedding(EmbeddingFormat format) const;

 private:
  std::string path_;
  std::string stem_;
};

/// Takes apart a path relative to the run's folder; nothing for names that are not its own.
std::optional<RunFile> ParseRunFile(std::string_view relative_path);

/// Makes the folder with its subfolders, and the marker that says it belongs to run `run_id`;
/// removes temporaries that a dead writer left. Claiming it again for the same run does nothing
/// more. AlreadyExists when the folder belongs to another run, or holds files that are no run's;
/// the message names the folder, both ids and what to do. DataLoss when the marker cannot be read.
absl::Status ClaimRunDirectory(FileSystem& fs, const RunDirectory& directory,
                               std::string_view run_id);

/// The id of the run that the folder belongs to; empty when the folder is missing or empty. For a
/// check before a run is submitted. Errors as ClaimRunDirectory.
absl::StatusOr<std::string> RunDirectoryOwner(FileSystem& fs, const RunDirectory& directory);

}  // namespace neolog
