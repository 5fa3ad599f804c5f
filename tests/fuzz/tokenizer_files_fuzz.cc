// Any bytes as a tokenizer's files, with record separators (0x1e) between vocab.json, merges.txt,
// tokenizer_config.json, special_tokens_map.json and added_tokens.json: refused, or a tokenizer
// that encodes a prompt.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "common/text/text_file.h"
#include "common/text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  (void)neolog::Gunzip(rest, 1 << 16);
  std::vector<std::string> parts;
  while (parts.size() < 5) {
    const size_t end = rest.find('\x1e');
    parts.emplace_back(rest.substr(0, end));
    if (end == rest.npos) break;
    rest.remove_prefix(end + 1);
  }
  neolog::TokenizerFiles files;
  files.vocab_json = parts[0];
  if (parts.size() > 1) files.merges_txt = parts[1];
  if (parts.size() > 2) files.tokenizer_config_json = parts[2];
  if (parts.size() > 3) files.special_tokens_map_json = parts[3];
  if (parts.size() > 4) files.added_tokens_json = parts[4];
  const auto tokenizer = neolog::Tokenizer::FromFiles(files, "fuzz");
  if (!tokenizer.ok()) return 0;
  const auto ids = (*tokenizer)->Encode("a photo of a Café's <|endoftext|> 12 !");
  if (ids.front() != (*tokenizer)->start_token() || ids.back() != (*tokenizer)->end_token())
    std::abort();
  for (int64_t id : ids) {
    if (id < 0 || id >= (*tokenizer)->vocabulary_size()) std::abort();
  }
  return 0;
}
