#include "common/text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <vector>

namespace neolog {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

// Code points that the reference's NFC, made for Unicode 9, does not know: newer combining marks,
// and the parts of U+11938. It leaves them where they stand, and nothing moves past them.
constexpr std::array<Range, 39> kUnknownToNfc = {{
    {0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},
    {0xc3c, 0xc3c},     {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x1715, 0x1715},
    {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},   {0xa82c, 0xa82c},   {0x10d24, 0x10d27},
    {0x10eab, 0x10eac}, {0x10efd, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85},
    {0x11070, 0x11070}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e}, {0x11839, 0x1183a},
    {0x11930, 0x11930}, {0x11935, 0x11935}, {0x11938, 0x11938}, {0x1193d, 0x1193e},
    {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47},
    {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97},
    {0x11f41, 0x11f42}, {0x16ff0, 0x16ff1}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136},
    {0x1e2ae, 0x1e2ae}, {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef},
}};

// Letters and numbers of Unicode 15.1 and 16; utf8proc 2.8 knows Unicode 15.
constexpr std::array<Range, 22> kNewerLetters = {{
    {0x1c89, 0x1c8a},   {0xa7cb, 0xa7cd},   {0xa7da, 0xa7dc},   {0x105c0, 0x105f3},
    {0x10d4a, 0x10d65}, {0x10d6f, 0x10d85}, {0x10ec2, 0x10ec4}, {0x11380, 0x11389},
    {0x1138b, 0x1138b}, {0x1138e, 0x1138e}, {0x11390, 0x113b5}, {0x113b7, 0x113b7},
    {0x113d1, 0x113d1}, {0x113d3, 0x113d3}, {0x11bc0, 0x11be0}, {0x13460, 0x143fa},
    {0x16100, 0x1611d}, {0x16d40, 0x16d6c}, {0x18cff, 0x18cff}, {0x1e5d0, 0x1e5ed},
    {0x1e5f0, 0x1e5f0}, {0x2ebf0, 0x2ee5d},
}};
constexpr std::array<Range, 7> kNewerNumbers = {{{0x10d40, 0x10d49},
                                                 {0x116d0, 0x116e3},
                                                 {0x11bf0, 0x11bf9},
                                                 {0x16130, 0x16139},
                                                 {0x16d70, 0x16d79},
                                                 {0x1ccf0, 0x1ccf9},
                                                 {0x1e5f1, 0x1e5fa}}};

template <size_t N>
bool InRanges(const std::array<Range, N>& ranges, char32_t c) {
  const auto it =
      std::upper_bound(ranges.begin(), ranges.end(), c,
                       [](char32_t value, const Range& range) { return value < range.first; });
  return it != ranges.begin() && c <= (it - 1)->last;
}

/// Length of the well-formed code point at `pos`, or of the maximal ill-formed part there, with
/// `*valid` saying which (Unicode, table 3-7 and "U+FFFD substitution of maximal subparts").
size_t ScanUtf8(std::string_view text, size_t pos, bool* valid) {
  const auto at = [&](size_t i) {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const unsigned lead = at(pos);
  *valid = true;
  if (lead < 0x80) return 1;
  size_t length = 0;
  unsigned low = 0x80;
  unsigned high = 0xbf;
  if (lead >= 0xc2 && lead <= 0xdf) {
    length = 2;
  } else if (lead >= 0xe0 && lead <= 0xef) {
    length = 3;
    if (lead == 0xe0) low = 0xa0;
    if (lead == 0xed) high = 0x9f;
  } else if (lead >= 0xf0 && lead <= 0xf4) {
    length = 4;
    if (lead == 0xf0) low = 0x90;
    if (lead == 0xf4) high = 0x8f;
  }
  for (size_t i = 1; i < length; ++i) {
    if (pos + i >= text.size() || at(pos + i) < low || at(pos + i) > high) {
      *valid = false;
      return i;
    }
    low = 0x80;
    high = 0xbf;
  }
  *valid = length != 0;
  return std::max<size_t>(length, 1);
}

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

int CombiningClass(utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; }

/// Decomposes, orders and composes a text without code points of kUnknownToNfc. Not utf8proc_map:
/// its ordering is quadratic in the length of a run of marks.
void AppendNfc(const std::vector<char32_t>& text, std::string* out) {
  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size());
  for (char32_t c : text) {
    std::array<utf8proc_int32_t, 32> parts;
    int boundary = 0;
    const utf8proc_ssize_t n = utf8proc_decompose_char(
        static_cast<utf8proc_int32_t>(c), parts.data(), parts.size(),
        static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE), &boundary);
    points.insert(points.end(), parts.begin(), parts.begin() + std::max<utf8proc_ssize_t>(n, 0));
  }
  for (auto run = points.begin(); run != points.end();) {
    if (CombiningClass(*run) == 0) {
      ++run;
      continue;
    }
    const auto end =
        std::find_if(run, points.end(), [](utf8proc_int32_t c) { return CombiningClass(c) == 0; });
    std::stable_sort(run, end,
                     [](auto a, auto b) { return CombiningClass(a) < CombiningClass(b); });
    run = end;
  }
  const utf8proc_ssize_t n =
      utf8proc_normalize_utf32(points.data(), static_cast<utf8proc_ssize_t>(points.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  for (utf8proc_ssize_t i = 0; i < n; ++i) AppendUtf8(static_cast<char32_t>(points[i]), out);
}

/// Lower case of Unicode 16 where utf8proc 2.8 has none yet.
char32_t NewerLower(char32_t c) {
  if (c >= 0x10d50 && c <= 0x10d65) return c + 0x20;
  switch (c) {
    case 0x1c89:
    case 0xa7cc:
    case 0xa7da: return c + 1;
    case 0xa7cb: return 0x264;
    case 0xa7dc: return 0x19b;
    default: return static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c)));
  }
}

}  // namespace

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string valid_text;
  valid_text.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    bool valid = false;
    const size_t length = ScanUtf8(text, pos, &valid);
    valid_text += valid ? text.substr(pos, length) : std::string_view("\xef\xbf\xbd");
    pos += length;
  }
  return valid_text;
}

bool IsValidUtf8(std::string_view text) {
  for (size_t pos = 0; pos < text.size();) {
    bool valid = false;
    pos += ScanUtf8(text, pos, &valid);
    if (!valid) return false;
  }
  return true;
}

char32_t NextCodePoint(std::string_view text, size_t* pos) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(*pos);
  const size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  char32_t c = length == 1 ? lead : lead & (0xffu >> (length + 1));
  for (size_t i = 1; i < length; ++i) c = c << 6 | (byte(*pos + i) & 0x3fu);
  *pos += length;
  return c;
}

char32_t CodePointBefore(std::string_view text, size_t pos) {
  do {
    --pos;
  } while ((static_cast<unsigned char>(text[pos]) & 0xc0u) == 0x80u);
  return NextCodePoint(text, &pos);
}

void AppendUtf8(char32_t c, std::string* text) {
  if (c < 0x80) {
    text->push_back(static_cast<char>(c));
    return;
  }
  const int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
  constexpr std::array<unsigned char, 4> kLead = {0, 0xc0, 0xe0, 0xf0};
  text->push_back(static_cast<char>(kLead[static_cast<size_t>(more)] | c >> (6 * more)));
  for (int i = more - 1; i >= 0; --i)
    text->push_back(static_cast<char>(0x80 | (c >> (6 * i) & 0x3f)));
}

std::string NormalizeNfc(std::string_view text) {
  if (IsAscii(text)) return std::string(text);
  std::string out;
  out.reserve(text.size());
  std::vector<char32_t> known;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = NextCodePoint(text, &pos);
    if (!InRanges(kUnknownToNfc, c)) {
      known.push_back(c);
      continue;
    }
    AppendNfc(known, &out);
    known.clear();
    AppendUtf8(c, &out);
  }
  AppendNfc(known, &out);
  return out;
}

std::string LowerCase(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = NextCodePoint(text, &pos);
    if (c == 0x130) {
      out += "i\xcc\x87";
    } else {
      AppendUtf8(NewerLower(c), &out);
    }
  }
  return out;
}

bool IsLetter(char32_t c) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
         InRanges(kNewerLetters, c);
}

bool IsNumber(char32_t c) {
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO) ||
         InRanges(kNewerNumbers, c);
}

bool IsSpace(char32_t c) {
  if ((c >= 0x9 && c <= 0xd) || c == 0x20 || c == 0x85) return true;
  const utf8proc_category_t category = utf8proc_category(static_cast<utf8proc_int32_t>(c));
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
         category == UTF8PROC_CATEGORY_ZP;
}

bool IsWordCharacter(char32_t c) {
  if (IsLetter(c) || c == 0x200c || c == 0x200d) return true;
  const bool alphabetic_symbol = (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) ||
                                 (c >= 0x1f150 && c <= 0x1f169) || (c >= 0x1f170 && c <= 0x1f189);
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return alphabetic_symbol || InRanges(kNewerNumbers, c);
  }
}

}  // namespace neolog
