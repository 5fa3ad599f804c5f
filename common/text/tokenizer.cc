#include "common/text/tokenizer.h"

#include <algorithm>
#include <array>

#include "common/text/unicode.h"

namespace neolog {
namespace {

/// English contractions that the pre-tokenizer cuts off.
constexpr std::array<std::string_view, 7> kContractions = {"'s", "'t",  "'re", "'ve",
                                                           "'m", "'ll", "'d"};

std::vector<int64_t>* TokensOf(std::vector<PromptPart>* parts) {
  if (parts->empty() || parts->back().word >= 0) parts->emplace_back();
  return &parts->back().tokens;
}

bool WordCharacterBefore(std::string_view text, size_t pos) {
  return pos > 0 && IsWordCharacter(CodePointBefore(text, pos));
}

bool WordCharacterAt(std::string_view text, size_t pos) {
  return pos < text.size() && IsWordCharacter(NextCodePoint(text, &pos));
}

/// Whether the learned `word` stands at `pos` as a word of its own.
bool WordStandsAt(std::string_view text, size_t pos, std::string_view word) {
  if (word.empty() || text.substr(pos, word.size()) != word) return false;
  const size_t end = pos + word.size();
  if (WordCharacterAt(word, 0) && WordCharacterBefore(text, pos)) return false;
  return !(WordCharacterBefore(word, word.size()) && WordCharacterAt(text, end));
}

}  // namespace

Tokenizer::Tokenizer(Bpe bpe, std::vector<AddedToken> added) : bpe_(std::move(bpe)) {
  for (const auto& [token, id] : bpe_.vocabulary())
    vocabulary_size_ = std::max(vocabulary_size_, id + 1);
  for (AddedToken& token : added) {
    vocabulary_size_ = std::max(vocabulary_size_, token.id + 1);
    if (token.normalized) token.content = Normalize(token.content);
    (token.normalized ? normalized_ : raw_).push_back(std::move(token));
  }
}

std::string Tokenizer::Normalize(std::string_view text) {
  const std::string composed = NormalizeNfc(ReplaceInvalidUtf8(text));
  std::string spaced;
  spaced.reserve(composed.size());
  bool in_space = false;
  for (size_t pos = 0; pos < composed.size();) {
    const size_t start = pos;
    const bool space = IsSpace(NextCodePoint(composed, &pos));
    if (!space) spaced.append(composed, start, pos - start);
    if (space && !in_space) spaced.push_back(' ');
    in_space = space;
  }
  return LowerCase(spaced);
}

std::vector<std::string> Tokenizer::TokenTexts() const {
  std::vector<std::string> texts(static_cast<size_t>(vocabulary_size_));
  for (const auto& [text, id] : bpe_.vocabulary()) texts[static_cast<size_t>(id)] = text;
  for (const auto* added : {&raw_, &normalized_}) {
    for (const AddedToken& token : *added) texts[static_cast<size_t>(token.id)] = token.content;
  }
  return texts;
}

std::optional<int64_t> Tokenizer::FindToken(std::string_view token) const {
  for (const auto* added : {&raw_, &normalized_}) {
    for (const AddedToken& candidate : *added) {
      if (candidate.content == token) return candidate.id;
    }
  }
  const auto it = bpe_.vocabulary().find(std::string(token));
  if (it == bpe_.vocabulary().end()) return std::nullopt;
  return it->second;
}

bool Tokenizer::ContainsAddedToken(std::string_view text) const {
  const std::string folded = Normalize(text);
  const auto stands_in = [&](const AddedToken& token) {
    return folded.find(Normalize(token.content)) != folded.npos;
  };
  return std::any_of(raw_.begin(), raw_.end(), stands_in) ||
         std::any_of(normalized_.begin(), normalized_.end(), stands_in);
}

std::vector<int64_t> Tokenizer::Encode(std::string_view text) const {
  std::vector<int64_t> ids = {start_token_};
  for (const PromptPart& part : Split(text, {}))
    ids.insert(ids.end(), part.tokens.begin(), part.tokens.end());
  ids.push_back(end_token_);
  return ids;
}

std::vector<PromptPart> Tokenizer::Split(std::string_view text,
                                         const std::vector<std::string>& words) const {
  std::vector<std::string> normalized_words;
  normalized_words.reserve(words.size());
  for (const std::string& word : words) normalized_words.push_back(Normalize(word));
  const std::string valid = ReplaceInvalidUtf8(text);
  std::vector<PromptPart> parts;
  // Added tokens that are not normalised cut the text first; each stretch between them is
  // normalised by itself.
  size_t start = 0;
  for (size_t pos = 0; pos < valid.size() && !raw_.empty();) {
    const AddedToken* longest = nullptr;
    for (const AddedToken& token : raw_) {
      if (std::string_view(valid).substr(pos, token.content.size()) == token.content &&
          (longest == nullptr || token.content.size() > longest->content.size())) {
        longest = &token;
      }
    }
    const size_t end = longest == nullptr ? pos : pos + longest->content.size();
    if (longest == nullptr) {
      NextCodePoint(valid, &pos);
    } else if (longest->single_word &&
               (WordCharacterBefore(valid, pos) || WordCharacterAt(valid, end))) {
      pos = end;
    } else {
      SplitNormalized(Normalize(std::string_view(valid).substr(start, pos - start)),
                      normalized_words, &parts);
      TokensOf(&parts)->push_back(longest->id);
      start = pos = end;
    }
  }
  SplitNormalized(Normalize(std::string_view(valid).substr(start)), normalized_words, &parts);
  std::erase_if(parts, [](const PromptPart& part) { return part.word < 0 && part.tokens.empty(); });
  return parts;
}

void Tokenizer::SplitNormalized(const std::string& text, const std::vector<std::string>& words,
                                std::vector<PromptPart>* parts) const {
  const std::string_view view = text;
  size_t start = 0;
  for (size_t pos = 0; pos < text.size();) {
    const AddedToken* token = nullptr;
    int word = -1;
    size_t length = 0;
    for (const AddedToken& candidate : normalized_) {
      if (candidate.content.size() > length &&
          view.substr(pos, candidate.content.size()) == candidate.content) {
        token = &candidate;
        length = candidate.content.size();
      }
    }
    for (size_t i = 0; i < words.size(); ++i) {
      if (words[i].size() > length && WordStandsAt(view, pos, words[i])) {
        token = nullptr;
        word = static_cast<int>(i);
        length = words[i].size();
      }
    }
    if (length == 0) {
      NextCodePoint(view, &pos);
      continue;
    }
    const size_t end = pos + length;
    if (token != nullptr && token->single_word &&
        (WordCharacterBefore(view, pos) || WordCharacterAt(view, end))) {
      pos = end;
      continue;
    }
    EncodeText(view.substr(start, pos - start), TokensOf(parts));
    if (word >= 0) {
      parts->push_back({word, {}});
    } else {
      TokensOf(parts)->push_back(token->id);
    }
    start = pos = end;
  }
  EncodeText(view.substr(start), TokensOf(parts));
}

// The reference's pattern: 's|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+, whatever is
// between matches dropped.
void Tokenizer::EncodeText(std::string_view text, std::vector<int64_t>* ids) const {
  enum class Kind { kLetter, kNumber, kSpace, kOther };
  const auto kind_at = [&](size_t pos) {
    const char32_t c = NextCodePoint(text, &pos);
    return IsLetter(c)   ? Kind::kLetter
           : IsNumber(c) ? Kind::kNumber
           : IsSpace(c)  ? Kind::kSpace
                         : Kind::kOther;
  };
  for (size_t pos = 0; pos < text.size();) {
    const size_t start = pos;
    const auto contraction =
        std::find_if(kContractions.begin(), kContractions.end(),
                     [&](std::string_view c) { return text.substr(start, c.size()) == c; });
    const Kind kind = kind_at(pos);
    if (contraction != kContractions.end()) {
      pos += contraction->size();
    } else {
      NextCodePoint(text, &pos);
      while ((kind == Kind::kLetter || kind == Kind::kOther) && pos < text.size() &&
             kind_at(pos) == kind) {
        NextCodePoint(text, &pos);
      }
    }
    if (kind != Kind::kSpace) bpe_.Encode(text.substr(start, pos - start), ids);
  }
}

}  // namespace neolog
