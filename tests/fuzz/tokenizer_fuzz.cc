// Any bytes as a prompt. The first line is the learned word, the rest the prompt and a template
// file. The tokens' texts, put together, must be the normalised prompt without its white space.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <map>
#include <string>
#include <string_view>

#include "common/text/prompts.h"
#include "common/text/splice.h"
#include "common/text/unicode.h"
#include "tests/common/text/small_vocabulary.h"

namespace {

const neolog::Tokenizer& TheTokenizer() {
  static const auto* const tokenizer =
      neolog::Tokenizer::FromFiles(
          neolog::testing::SmallVocabulary(
              {"c a", "ca t</w>", "t h", "th e</w>", "' s</w>", "Ã ©</w>", "Ì ģ"}),
          "small")
          .value()
          .release();
  return *tokenizer;
}

/// What each token stands for in a normalised text, by id.
const std::map<int64_t, std::string>& Texts() {
  static const auto* const texts = [] {
    std::map<std::string, char> bytes;
    for (int byte = 0; byte < 256; ++byte)
      bytes[neolog::ByteSymbols()[static_cast<size_t>(byte)]] = static_cast<char>(byte);
    auto* table = new std::map<int64_t, std::string>;
    const auto add = [&](const std::string& token) {
      std::string_view symbols = token;
      if (symbols.ends_with(neolog::kWordEnd)) symbols.remove_suffix(neolog::kWordEnd.size());
      std::string text;
      for (size_t pos = 0; pos < symbols.size();) {
        const size_t start = pos;
        neolog::NextCodePoint(symbols, &pos);
        text += bytes.at(std::string(symbols.substr(start, pos - start)));
      }
      (*table)[*TheTokenizer().FindToken(token)] = text;
    };
    for (const std::string& symbol : neolog::ByteSymbols()) {
      add(symbol);
      add(symbol + std::string(neolog::kWordEnd));
    }
    for (const char* token : {"ca", "cat</w>", "th", "the</w>", "'s</w>", "Ã©</w>", "Ìģ"})
      add(token);
    for (const char* token : {"<|startoftext|>", "<|endoftext|>"})
      (*table)[*TheTokenizer().FindToken(token)] = token;
    return table;
  }();
  return *texts;
}

std::string WithoutSpace(std::string_view text) {
  std::string out;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = neolog::NextCodePoint(text, &pos);
    if (!neolog::IsSpace(c)) neolog::AppendUtf8(c, &out);
  }
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t newline = bytes.find('\n');
  const std::string_view word = bytes.substr(0, newline);
  const std::string_view text =
      newline == bytes.npos ? std::string_view() : bytes.substr(newline + 1);

  const auto ids = TheTokenizer().Encode(text);
  std::string joined;
  for (size_t i = 1; i + 1 < ids.size(); ++i) joined += Texts().at(ids[i]);
  const std::string normalized = neolog::Tokenizer::Normalize(text);
  if (!neolog::IsValidUtf8(normalized) || joined != WithoutSpace(normalized)) std::abort();

  (void)neolog::ParseTemplates(text, "fuzz");
  if (!neolog::CheckWord(TheTokenizer(), word).ok()) return 0;
  const auto spliced = neolog::SplicePrompt(TheTokenizer(), text, {{std::string(word), 3}}, 20);
  if (!spliced.ok()) return 0;
  if (spliced->input_ids.size() != 20 || spliced->slots.size() != 20) std::abort();
  int64_t rows = 0;
  for (int64_t slot : spliced->slots) {
    if (slot >= 0 && slot != rows++ % 3) std::abort();  // all rows of each occurrence, in order
  }
  if (rows != 3 * spliced->occurrences) std::abort();
  return 0;
}
