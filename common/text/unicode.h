#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace neolog {

/// Unicode as the reference tokenizer (Hugging Face tokenizers 0.22) sees it, which mixes three
/// versions of the standard: NFC of Unicode 9, letter and number classes and lower case of
/// Unicode 16. Pure functions, safe from any thread.

/// The same text as valid UTF-8: every maximal ill-formed part becomes U+FFFD, as Python's
/// decode(errors="replace") does.
std::string ReplaceInvalidUtf8(std::string_view text);

/// Whether every byte belongs to well-formed UTF-8 (no surrogates, nothing above U+10FFFF, no
/// overlong forms).
bool IsValidUtf8(std::string_view text);

/// The code point at byte `*pos`, which moves behind it. `text` must be valid UTF-8 and `*pos`
/// inside it.
char32_t NextCodePoint(std::string_view text, size_t* pos);
/// The code point that ends at byte `pos` > 0. `text` must be valid UTF-8.
char32_t CodePointBefore(std::string_view text, size_t pos);
void AppendUtf8(char32_t code_point, std::string* text);

/// Normalisation form C of valid UTF-8. Time is n log n in the worst case.
std::string NormalizeNfc(std::string_view text);
/// Each code point lower-cased by itself (no final sigma rule; U+0130 becomes i and U+0307). Valid
/// UTF-8 in and out.
std::string LowerCase(std::string_view text);

/// General categories L*.
bool IsLetter(char32_t code_point);
/// General categories N*.
bool IsNumber(char32_t code_point);
/// The White_Space property; U+180E is not in it.
bool IsSpace(char32_t code_point);
/// What \w matches: letters, marks, decimal and letter numbers, connectors, joiners, and circled or
/// squared Latin letters.
bool IsWordCharacter(char32_t code_point);

}  // namespace neolog
