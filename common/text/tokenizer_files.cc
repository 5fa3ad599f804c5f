#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common/text/text_file.h"
#include "common/text/tokenizer.h"
#include "common/text/unicode.h"

namespace neolog {
namespace {

using nlohmann::json;

constexpr size_t kMaxFileBytes = 16 << 20;       // CLIP's vocab.json has 1 MB
constexpr size_t kMaxInflatedBytes = 16 << 20;   // CLIP's merges file has 3 MB
constexpr size_t kClipMerges = 49152 - 256 - 2;  // what CLIP's tokenizer takes of its merges file
constexpr int64_t kMaxId = 1 << 24;
constexpr std::array<std::string_view, 4> kRoles = {"bos_token", "eos_token", "unk_token",
                                                    "pad_token"};

absl::StatusOr<json> ParseObject(std::string_view text, std::string_view file) {
  const size_t nul = text.find('\0');  // the JSON parser would take it for the end
  json value;
  std::string reason = "it is not a JSON object";
  if (nul != text.npos) {
    reason = fmt::format("byte {} is NUL", nul);
  } else {
    try {
      value = json::parse(text);
    } catch (const json::exception& e) {
      reason = fmt::format("it is not JSON: {}", e.what());
      value = nullptr;
    }
  }
  if (!value.is_object()) return DataLoss(fmt::format("{}: {}", file, reason));
  return value;
}

absl::StatusOr<int64_t> IdOf(const json& value, std::string_view token, std::string_view file) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > static_cast<uint64_t>(kMaxId)) {
    return DataLoss(fmt::format("{}: the id of '{}' is {}: expected an integer from 0 to {}", file,
                                token, value.dump(), kMaxId));
  }
  return value.get<int64_t>();
}

absl::StatusOr<std::unordered_map<std::string, int64_t>> ParseVocabulary(std::string_view text) {
  ASSIGN_OR_RETURN(const json object, ParseObject(text, "vocab.json"));
  std::unordered_map<std::string, int64_t> vocabulary;
  for (const auto& [token, value] : object.items()) {
    ASSIGN_OR_RETURN(vocabulary[token], IdOf(value, token, "vocab.json"));
  }
  return vocabulary;
}

/// The reference skips the first line, whatever it is, and takes CLIP's number of merges.
absl::StatusOr<std::vector<Bpe::Merge>> ParseMerges(std::string_view text) {
  std::vector<Bpe::Merge> merges;
  if (!IsValidUtf8(text)) return DataLoss("merges.txt: it is not UTF-8");
  int number = 0;
  for (std::string_view line : SplitLines(text)) {
    if (++number == 1) continue;
    if (merges.size() == kClipMerges) break;
    const size_t space = line.find(' ');
    if (line.empty()) continue;
    if (space == line.npos || space == 0 || space + 1 == line.size() ||
        line.find(' ', space + 1) != line.npos) {
      return DataLoss(
          fmt::format("merges.txt: line {}: expected two tokens with a space between, found '{}'",
                      number, line));
    }
    merges.emplace_back(line.substr(0, space), line.substr(space + 1));
  }
  return merges;
}

bool Flag(const json& object, const char* key, bool otherwise) {
  const auto it = object.find(key);
  return it != object.end() && it->is_boolean() ? it->get<bool>() : otherwise;
}

}  // namespace

/// Collects added tokens the way transformers does: tokenizer_config.json's list, then
/// added_tokens.json, then the four special tokens; the first mention of a text counts.
struct Tokenizer::Loader {
  std::unordered_map<std::string, int64_t> vocabulary;
  std::vector<AddedToken> added;
  json config = json::object();
  json special_map = json::object();

  bool Has(std::string_view content) const {
    return std::any_of(added.begin(), added.end(),
                       [&](const AddedToken& t) { return t.content == content; });
  }

  absl::Status AddListed() {
    if (const auto it = config.find("added_tokens_decoder");
        it != config.end() && it->is_object()) {
      for (const auto& [key, entry] : it->items()) {
        int64_t id = 0;
        const bool digits =
            !key.empty() && key.size() <= 8 && key.find_first_not_of("0123456789") == key.npos;
        if (digits) id = std::stoll(key);
        if (!digits || id > kMaxId || !entry.is_object() || !entry.contains("content") ||
            !entry["content"].is_string()) {
          return DataLoss(
              fmt::format("tokenizer_config.json: added_tokens_decoder: entry '{}' is not an id "
                          "with a 'content'",
                          key));
        }
        const std::string content = entry["content"].get<std::string>();
        if (content.empty() || Has(content)) continue;
        added.push_back({content, id, Flag(entry, "normalized", !Flag(entry, "special", false)),
                         Flag(entry, "single_word", false)});
      }
    }
    return absl::OkStatus();
  }

  absl::Status AddLegacy(std::string_view text) {
    ASSIGN_OR_RETURN(const json object, ParseObject(text, "added_tokens.json"));
    for (const auto& [content, value] : object.items()) {
      ASSIGN_OR_RETURN(const int64_t id, IdOf(value, content, "added_tokens.json"));
      if (content.empty() || Has(content)) continue;
      added.push_back({content, id, !IsSpecial(content), false});
    }
    return absl::OkStatus();
  }

  /// A special token's entry: a text or an object with `content`; from the config first, as
  /// transformers takes it.
  const json* RoleEntry(std::string_view role) const {
    for (const json* source : {&special_map, &config}) {
      const auto it = source->find(std::string(role));
      if (it == source->end()) continue;
      if (it->is_string() ||
          (it->is_object() && it->contains("content") && (*it)["content"].is_string()))
        return &*it;
    }
    return nullptr;
  }
  std::string RoleText(std::string_view role) const {
    const json* entry = RoleEntry(role);
    if (entry == nullptr) return role == "bos_token" ? "<|startoftext|>" : "<|endoftext|>";
    return entry->is_string() ? entry->get<std::string>() : (*entry)["content"].get<std::string>();
  }
  bool IsSpecial(std::string_view content) const {
    return std::any_of(kRoles.begin(), kRoles.end(),
                       [&](std::string_view role) { return RoleText(role) == content; });
  }

  absl::StatusOr<int64_t> AddRole(std::string_view role) {
    const std::string content = RoleText(role);
    for (const AddedToken& token : added) {
      if (token.content == content) return token.id;
    }
    const auto it = vocabulary.find(content);
    if (content.empty() || it == vocabulary.end()) {
      return InvalidArgument(
          fmt::format("vocab.json: the vocabulary lacks '{}', the {}", content, role));
    }
    // A pad token that is given as plain text is looked for as it stands; the other three are
    // normalised.
    const json* entry = RoleEntry(role);
    const bool object = entry != nullptr && entry->is_object();
    const bool normalized = object ? Flag(*entry, "normalized", true) : role != "pad_token";
    added.push_back(
        {content, it->second, normalized, object && Flag(*entry, "single_word", false)});
    return it->second;
  }

  absl::StatusOr<std::unique_ptr<Tokenizer>> Finish(const std::vector<Bpe::Merge>& merges) {
    std::array<int64_t, kRoles.size()> ids;
    for (size_t i = 0; i < kRoles.size(); ++i) {
      ASSIGN_OR_RETURN(ids[i], AddRole(kRoles[i]));
    }
    ASSIGN_OR_RETURN(Bpe bpe, Bpe::Create(std::move(vocabulary), merges));
    std::unique_ptr<Tokenizer> tokenizer(new Tokenizer(std::move(bpe), std::move(added)));
    tokenizer->start_token_ = ids[0];
    tokenizer->end_token_ = ids[1];
    tokenizer->pad_token_ = ids[3];
    return tokenizer;
  }
};

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromFiles(const TokenizerFiles& files,
                                                                std::string_view name) {
  const auto load = [&]() -> absl::StatusOr<std::unique_ptr<Tokenizer>> {
    Loader loader;
    ASSIGN_OR_RETURN(loader.vocabulary, ParseVocabulary(files.vocab_json));
    ASSIGN_OR_RETURN(const std::vector<Bpe::Merge> merges, ParseMerges(files.merges_txt));
    if (files.tokenizer_config_json) {
      ASSIGN_OR_RETURN(loader.config,
                       ParseObject(*files.tokenizer_config_json, "tokenizer_config.json"));
    }
    if (files.special_tokens_map_json) {
      ASSIGN_OR_RETURN(loader.special_map,
                       ParseObject(*files.special_tokens_map_json, "special_tokens_map.json"));
    }
    RETURN_IF_ERROR(loader.AddListed());
    if (files.added_tokens_json) RETURN_IF_ERROR(loader.AddLegacy(*files.added_tokens_json));
    return loader.Finish(merges);
  };
  auto tokenizer = load();
  if (!tokenizer.ok())
    return Annotate(tokenizer.status(), fmt::format("reading the tokenizer in '{}'", name));
  return tokenizer;
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromFolder(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  fs::path folder = path;
  if (!fs::exists(folder / "vocab.json", error) && fs::is_directory(folder / "tokenizer", error))
    folder /= "tokenizer";
  TokenizerFiles files;
  ASSIGN_OR_RETURN(files.vocab_json, ReadWholeFile(folder / "vocab.json", kMaxFileBytes));
  ASSIGN_OR_RETURN(files.merges_txt, ReadWholeFile(folder / "merges.txt", kMaxFileBytes));
  const auto optional_file = [&](const char* file,
                                 std::optional<std::string>* bytes) -> absl::Status {
    if (!fs::exists(folder / file, error)) return absl::OkStatus();
    ASSIGN_OR_RETURN(*bytes, ReadWholeFile(folder / file, kMaxFileBytes));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(optional_file("tokenizer_config.json", &files.tokenizer_config_json));
  RETURN_IF_ERROR(optional_file("special_tokens_map.json", &files.special_tokens_map_json));
  RETURN_IF_ERROR(optional_file("added_tokens.json", &files.added_tokens_json));
  return FromFiles(files, folder.string());
}

absl::StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromMergesFile(const std::string& path,
                                                                     std::string_view pad) {
  ASSIGN_OR_RETURN(const std::string packed, ReadWholeFile(path, kMaxFileBytes));
  const auto load = [&]() -> absl::StatusOr<std::unique_ptr<Tokenizer>> {
    ASSIGN_OR_RETURN(const std::string text, Gunzip(packed, kMaxInflatedBytes));
    Loader loader;
    ASSIGN_OR_RETURN(const std::vector<Bpe::Merge> merges, ParseMerges(text));
    if (merges.size() != kClipMerges) {
      return DataLoss(fmt::format("{} merges, expected {}: not CLIP's merges file", merges.size(),
                                  kClipMerges));
    }
    int64_t id = 0;
    const std::vector<std::string> symbols = ByteSymbolsInVocabularyOrder();
    for (const std::string& symbol : symbols) loader.vocabulary[symbol] = id++;
    for (const std::string& symbol : symbols)
      loader.vocabulary[symbol + std::string(kWordEnd)] = id++;
    for (const auto& [left, right] : merges) loader.vocabulary[left + right] = id++;
    loader.vocabulary["<|startoftext|>"] = id++;
    loader.vocabulary["<|endoftext|>"] = id++;
    loader.config = {{"pad_token", pad}};
    return loader.Finish(merges);
  };
  auto tokenizer = load();
  if (!tokenizer.ok()) return Annotate(tokenizer.status(), fmt::format("reading '{}'", path));
  return tokenizer;
}

absl::StatusOr<std::string> Tokenizer::FindMergesFile() {
  namespace fs = std::filesystem;
  constexpr char kName[] = "bpe_simple_vocab_16e6.txt.gz";
  const char* named = std::getenv("NEOLOG_CLIP_MERGES");
  if (named != nullptr && *named != '\0') return std::string(named);
  std::error_code error;
  std::string looked;
  std::vector<fs::path> places;
  if (const fs::path program = fs::read_symlink("/proc/self/exe", error); !error)
    places.push_back(program.parent_path().parent_path() / "share" / "neolog" / kName);
  if (const char* dependencies = std::getenv("NEOLOG_DEPS_DIR"); dependencies != nullptr)
    places.push_back(fs::path(dependencies) / "clip" / kName);
  for (const fs::path& place : places) {
    if (fs::exists(place, error)) return place.string();
    looked += fmt::format("{}'{}'", looked.empty() ? "" : ", ", place.string());
  }
  return NotFound(fmt::format(
      "CLIP's merges file, which a model without a tokenizer of its own needs, is not in {}: build "
      "with deploy/install-deps.sh's dependencies, or name the file in NEOLOG_CLIP_MERGES",
      looked));
}

}  // namespace neolog
