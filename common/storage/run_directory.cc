#include "common/storage/run_directory.h"

#include <charconv>
#include <vector>

#include "common/storage/durable_write.h"
#include "fmt/format.h"
#include "nlohmann/json.hpp"

namespace neolog {
namespace {

constexpr std::string_view kMarkerName = "run.json";
constexpr std::string_view kYamlName = "settings.yaml";
constexpr std::string_view kJsonName = "settings.json";
constexpr std::string_view kLossName = "textual_inversion_loss.csv";
constexpr std::string_view kValidationName = "validation_loss.csv";
constexpr std::string_view kEmbeddings = "embeddings";
constexpr std::string_view kPreviews = "previews";
constexpr std::string_view kPng = ".png";
constexpr size_t kMaxNameBytes = 100;
constexpr uint64_t kMaxMarkerBytes = 64 << 10;

bool ConsumeSuffix(std::string_view* text, std::string_view suffix) {
  if (!text->ends_with(suffix)) return false;
  text->remove_suffix(suffix.size());
  return true;
}

std::optional<EmbeddingFormat> ConsumeExtension(std::string_view* name) {
  for (const EmbeddingFormatFacts& facts : kEmbeddingFormats) {
    if (ConsumeSuffix(name, facts.extension)) return facts.format;
  }
  return std::nullopt;
}

/// Takes "-<number>" off the end; a number as we write it, without sign or leading zeros.
template <typename T>
bool ConsumeNumber(std::string_view* name, T* value) {
  const size_t dash = name->rfind('-');
  if (dash == std::string_view::npos || dash == 0) return false;
  const std::string_view digits = name->substr(dash + 1);
  if (digits.empty() || (digits.size() > 1 && digits[0] == '0') || digits[0] == '-') return false;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), *value);
  if (error != std::errc() || end != digits.data() + digits.size()) return false;
  name->remove_suffix(digits.size() + 1);
  return true;
}

/// True for stems that FileStem could have made.
bool IsStem(std::string_view stem) { return !stem.empty() && FileStem(stem) == stem; }

absl::StatusOr<std::string> ReadMarker(FileSystem& fs, const RunDirectory& directory) {
  ASSIGN_OR_RETURN(const std::string text, fs.Read(directory.Marker(), kMaxMarkerBytes));
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("run_id") || !json["run_id"].is_string()) {
    return DataLoss(fmt::format(
        "'{}' does not say which run the folder belongs to; move the folder away or choose another "
        "name or checkpoint.log_dir",
        directory.Marker()));
  }
  return json["run_id"].get<std::string>();
}

}  // namespace

std::string FileStem(std::string_view word) {
  static constexpr std::string_view kRefused = "<>:\"/\\|?*\x7f";
  std::string stem;
  for (const char c : word) {
    if (static_cast<unsigned char>(c) >= 0x20 && kRefused.find(c) == std::string_view::npos)
      stem += c;
  }
  if (stem.size() > kMaxNameBytes) {
    size_t end = kMaxNameBytes;
    while (end > 0 && (static_cast<unsigned char>(stem[end]) & 0xC0) == 0x80) --end;
    stem.resize(end);
  }
  const size_t first = stem.find_first_not_of(". ");
  if (first == std::string::npos) return "word";
  return stem.substr(first, stem.find_last_not_of(". ") - first + 1);
}

bool IsRunName(std::string_view name) {
  static constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  return !name.empty() && name.size() <= kMaxNameBytes && name[0] != '.' && name[0] != '-' &&
         name.find_first_not_of(kAllowed) == std::string_view::npos;
}

RunDirectory::RunDirectory(std::string_view log_dir, std::string_view run_name,
                           std::string_view word)
    : path_(JoinPath(log_dir, run_name)), stem_(FileStem(word)) {}

std::string RunDirectory::Marker() const { return JoinPath(path_, kMarkerName); }
std::string RunDirectory::SettingsYaml() const { return JoinPath(path_, kYamlName); }
std::string RunDirectory::SettingsJson() const { return JoinPath(path_, kJsonName); }
std::string RunDirectory::LossCsv() const { return JoinPath(path_, kLossName); }
std::string RunDirectory::ValidationCsv() const { return JoinPath(path_, kValidationName); }
std::string RunDirectory::EmbeddingsFolder() const { return JoinPath(path_, kEmbeddings); }
std::string RunDirectory::PreviewsFolder() const { return JoinPath(path_, kPreviews); }

std::string RunDirectory::PartialEmbedding(uint64_t step, EmbeddingFormat format) const {
  return fmt::format("{}/{}-{}{}", EmbeddingsFolder(), stem_, step, Extension(format));
}

std::string RunDirectory::Preview(uint64_t step, uint32_t index) const {
  return fmt::format("{}/{}-{}-{}{}", PreviewsFolder(), stem_, step, index, kPng);
}

std::string RunDirectory::FinalEmbedding(EmbeddingFormat format) const {
  return fmt::format("{}/{}{}", path_, stem_, Extension(format));
}

std::optional<RunFile> ParseRunFile(std::string_view path) {
  if (path == kMarkerName) return RunFile{.kind = RunFileKind::kMarker};
  if (path == kYamlName) return RunFile{.kind = RunFileKind::kSettingsYaml};
  if (path == kJsonName) return RunFile{.kind = RunFileKind::kSettingsJson};
  if (path == kLossName) return RunFile{.kind = RunFileKind::kLossCsv};
  if (path == kValidationName) return RunFile{.kind = RunFileKind::kValidationCsv};
  const size_t slash = path.find('/');
  const std::string_view folder = slash == std::string_view::npos ? "" : path.substr(0, slash);
  std::string_view name = slash == std::string_view::npos ? path : path.substr(slash + 1);
  RunFile file;
  if (folder == kPreviews) {
    file.kind = RunFileKind::kPreview;
    if (!ConsumeSuffix(&name, kPng) || !ConsumeNumber(&name, &file.index) ||
        !ConsumeNumber(&name, &file.step)) {
      return std::nullopt;
    }
  } else if (slash == std::string_view::npos || folder == kEmbeddings) {
    const auto format = ConsumeExtension(&name);
    if (!format) return std::nullopt;
    file.format = *format;
    file.kind = RunFileKind::kFinalEmbedding;
    if (folder == kEmbeddings) {
      file.kind = RunFileKind::kPartialEmbedding;
      if (!ConsumeNumber(&name, &file.step)) return std::nullopt;
    }
  } else {
    return std::nullopt;
  }
  if (!IsStem(name)) return std::nullopt;
  file.stem = std::string(name);
  return file;
}

absl::StatusOr<std::string> RunDirectoryOwner(FileSystem& fs, const RunDirectory& directory) {
  const auto marker = fs.Stat(directory.Marker());
  if (marker.ok()) return ReadMarker(fs, directory);
  if (!absl::IsNotFound(marker.status())) return marker.status();
  const auto info = fs.Stat(directory.path());
  if (absl::IsNotFound(info.status())) return std::string();
  RETURN_IF_ERROR(info);
  if (!info->is_directory) {
    return AlreadyExists(
        fmt::format("'{}' is a file; the run's folder would have its name: choose another name or "
                    "checkpoint.log_dir",
                    directory.path()));
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs.List(directory.path()));
  for (const std::string& name : names) {
    // A claim that died before its marker was written leaves these.
    if (IsTemporaryName(name) || name == kEmbeddings || name == kPreviews) continue;
    return AlreadyExists(
        fmt::format("'{}' holds '{}' but no {}: it is not a run's folder; choose another name or "
                    "checkpoint.log_dir",
                    directory.path(), name, kMarkerName));
  }
  return std::string();
}

absl::Status ClaimRunDirectory(FileSystem& fs, const RunDirectory& directory,
                               std::string_view run_id) {
  ASSIGN_OR_RETURN(const std::string owner, RunDirectoryOwner(fs, directory));
  if (!owner.empty() && owner != run_id) {
    return AlreadyExists(fmt::format(
        "'{}' belongs to run {}, not to run {}; choose another name or checkpoint.log_dir, or "
        "move the folder away",
        directory.path(), owner, run_id));
  }
  for (const std::string& folder :
       {directory.path(), directory.EmbeddingsFolder(), directory.PreviewsFolder()}) {
    RETURN_IF_ERROR(fs.CreateDirectories(folder));
    RETURN_IF_ERROR(SweepTemporaries(fs, folder));
  }
  if (!owner.empty()) return absl::OkStatus();
  const nlohmann::ordered_json marker = {{"format", 1}, {"run_id", run_id}};
  const std::string text = marker.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  return WriteFileDurably(fs, directory.Marker(), text + "\n");
}

}  // namespace neolog
