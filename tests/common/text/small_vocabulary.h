#pragma once

#include <string>
#include <vector>

#include "common/text/tokenizer.h"

namespace neolog::testing {

/// Files of a vocabulary with the 512 byte symbols, ids 0…511 as CLIP numbers them, then a token
/// for each merge ("c a"), then
/// <|startoftext|> and <|endoftext|>.
TokenizerFiles SmallVocabulary(const std::vector<std::string>& merges);

}  // namespace neolog::testing
