#include "tests/common/text/small_vocabulary.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace neolog::testing {

TokenizerFiles SmallVocabulary(const std::vector<std::string>& merges) {
  nlohmann::json vocabulary;
  int id = 0;
  for (const std::string& symbol : ByteSymbolsInVocabularyOrder()) vocabulary[symbol] = id++;
  for (const std::string& symbol : ByteSymbolsInVocabularyOrder())
    vocabulary[symbol + "</w>"] = id++;
  TokenizerFiles files;
  files.merges_txt = "#version: 0.2\n";
  for (const std::string& merge : merges) {
    files.merges_txt += merge + "\n";
    std::string token = merge;
    token.erase(std::remove(token.begin(), token.end(), ' '), token.end());
    vocabulary[token] = id++;
  }
  vocabulary["<|startoftext|>"] = id++;
  vocabulary["<|endoftext|>"] = id++;
  files.vocab_json = vocabulary.dump();
  return files;
}

}  // namespace neolog::testing
