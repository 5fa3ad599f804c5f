#include "common/text/prompts.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "common/text/text_file.h"
#include "common/text/unicode.h"

namespace neolog {
namespace {

constexpr size_t kMaxTemplateFileBytes = 4 << 20;
constexpr size_t kMaxTemplateBytes = 4096;
constexpr size_t kMaxCaptionBytes = 64 << 10;

std::string_view Trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n\f\v");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n\f\v") - first + 1);
}

void ReplaceAll(std::string_view from, std::string_view to, std::string* text) {
  for (size_t pos = 0; (pos = text->find(from, pos)) != text->npos; pos += to.size())
    text->replace(pos, from.size(), to);
}

/// Levenshtein distance of two short ASCII texts.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

/// A bracketed text that is nearly a placeholder, and the placeholder it is near to. Other brackets
/// are prompt syntax.
std::pair<std::string_view, std::string_view> MisspeltPlaceholder(std::string_view line) {
  for (size_t open = line.find('['); open != line.npos; open = line.find('[', open + 1)) {
    const size_t close = line.find(']', open);
    if (close == line.npos) break;
    const std::string_view found = line.substr(open, close - open + 1);
    if (found.size() > 20) continue;
    for (std::string_view placeholder : {kNamePlaceholder, kFileWordsPlaceholder}) {
      const size_t allowed = placeholder == kNamePlaceholder ? 1 : 2;
      if (found != placeholder && EditDistance(found, placeholder) <= allowed)
        return {found, placeholder};
    }
  }
  return {};
}

}  // namespace

const std::vector<std::string>& ObjectTemplates() {
  static const auto* const templates = [] {
    auto* list = new std::vector<std::string>;
    constexpr std::array<std::string_view, 27> kBefore = {
        "a photo of a",           "a rendering of a",
        "a cropped photo of the", "the photo of a",
        "a photo of a clean",     "a photo of a dirty",
        "a dark photo of the",    "a photo of my",
        "a photo of the cool",    "a close-up photo of a",
        "a bright photo of the",  "a cropped photo of a",
        "a photo of the",         "a good photo of the",
        "a photo of one",         "a close-up photo of the",
        "a rendition of the",     "a photo of the clean",
        "a rendition of a",       "a photo of a nice",
        "a good photo of a",      "a photo of the nice",
        "a photo of the small",   "a photo of the weird",
        "a photo of the large",   "a photo of a cool",
        "a photo of a small"};
    for (std::string_view before : kBefore)
      list->push_back(fmt::format("{} {}", before, kNamePlaceholder));
    return list;
  }();
  return *templates;
}

const std::vector<std::string>& StyleTemplates() {
  static const auto* const templates = [] {
    auto* list = new std::vector<std::string>;
    constexpr std::array<std::string_view, 19> kWhat = {
        "a painting",       "a rendering",         "a cropped painting", "the painting",
        "a clean painting", "a dirty painting",    "a dark painting",    "a picture",
        "a cool painting",  "a close-up painting", "a bright painting",  "a cropped painting",
        "a good painting",  "a close-up painting", "a rendition",        "a nice painting",
        "a small painting", "a weird painting",    "a large painting"};
    for (std::string_view what : kWhat)
      list->push_back(fmt::format("{} in the style of {}", what, kNamePlaceholder));
    return list;
  }();
  return *templates;
}

absl::StatusOr<std::vector<std::string>> ParseTemplates(std::string_view text,
                                                        std::string_view name) {
  std::vector<std::string> templates;
  size_t number = 0;
  for (std::string_view line : SplitLines(text)) {
    ++number;
    line = Trimmed(line);
    if (line.empty() || line.front() == '#') continue;
    if (line.size() > kMaxTemplateBytes) {
      return InvalidArgument(
          fmt::format("{}:{}: the line has {} bytes: expected at most {}, one prompt a line", name,
                      number, line.size(), kMaxTemplateBytes));
    }
    if (!IsValidUtf8(line))
      return InvalidArgument(
          fmt::format("{}:{}: the line is not UTF-8: save the file as UTF-8", name, number));
    if (const auto [found, meant] = MisspeltPlaceholder(line); !found.empty()) {
      return InvalidArgument(fmt::format("{}:{}: unknown placeholder '{}': did you mean {}?", name,
                                         number, found, meant));
    }
    templates.emplace_back(line);
  }
  if (templates.empty()) {
    return InvalidArgument(fmt::format(
        "{}: no prompts: expected one a line, with [name] where the word stands", name));
  }
  return templates;
}

absl::StatusOr<std::vector<std::string>> ReadTemplateFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path, kMaxTemplateFileBytes));
  return ParseTemplates(text, path);
}

std::string FillTemplate(std::string_view prompt_template, std::string_view name,
                         std::string_view file_words) {
  std::string prompt(prompt_template);
  ReplaceAll(kFileWordsPlaceholder, file_words, &prompt);
  ReplaceAll(kNamePlaceholder, name, &prompt);
  return prompt;
}

bool UsesFileWords(std::string_view prompt_template) {
  return prompt_template.find(kFileWordsPlaceholder) != prompt_template.npos;
}

std::string FileWords(std::string_view file_name) {
  file_name = file_name.substr(file_name.rfind('/') + 1);
  if (const size_t dot = file_name.rfind('.'); dot != file_name.npos && dot > 0)
    file_name = file_name.substr(0, dot);
  const size_t first = file_name.find_first_not_of("-0123456789");
  return first == file_name.npos ? "" : std::string(Trimmed(file_name.substr(first)));
}

absl::StatusOr<std::string> ReadCaption(const std::string& image_path) {
  const size_t dot = image_path.rfind('.');
  const size_t slash = image_path.rfind('/');
  const bool has_extension =
      dot != image_path.npos && (slash == image_path.npos || dot > slash + 1);
  const std::string path = image_path.substr(0, has_extension ? dot : image_path.npos) + ".txt";
  const auto text = ReadWholeFile(path, kMaxCaptionBytes);
  if (absl::IsNotFound(text.status())) return FileWords(image_path);
  if (!text.ok()) return text.status();
  if (!IsValidUtf8(*text))
    return InvalidArgument(fmt::format("the caption '{}' is not UTF-8: save it as UTF-8", path));
  std::string caption;
  std::string_view rest = *text;
  if (rest.starts_with("\xef\xbb\xbf")) rest.remove_prefix(3);
  for (; !(rest = Trimmed(rest)).empty();) {
    const size_t end = std::min(rest.find_first_of(" \t\r\n\f\v"), rest.size());
    if (!caption.empty()) caption += ' ';
    caption += rest.substr(0, end);
    rest.remove_prefix(end);
  }
  return caption;
}

}  // namespace neolog
