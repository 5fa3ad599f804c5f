#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace neolog {

/// In a template these stand for the word, and for the picture's caption or file name.
inline constexpr std::string_view kNamePlaceholder = "[name]";
inline constexpr std::string_view kFileWordsPlaceholder = "[filewords]";

/// The 27 templates of the diffusers textual-inversion script for an object, with [name] in each.
const std::vector<std::string>& ObjectTemplates();
/// Its 19 templates for a style; one of them stands there twice, as in the script.
const std::vector<std::string>& StyleTemplates();

/// The templates of a file's text: one a line, surrounding white space dropped; blank lines and
/// lines that begin with '#' do not count. InvalidArgument, with `name` and the line, for text that
/// is not UTF-8, a misspelt placeholder, a line beyond 4,096 bytes, or when no template is left.
absl::StatusOr<std::vector<std::string>> ParseTemplates(std::string_view text,
                                                        std::string_view name);
/// The same from a file.
absl::StatusOr<std::vector<std::string>> ReadTemplateFile(const std::string& path);

/// The template with [filewords] and then [name] replaced, everywhere, as plain text; so a caption
/// may hold [name] too.
std::string FillTemplate(std::string_view prompt_template, std::string_view name,
                         std::string_view file_words);
/// Whether [filewords] stands in the template.
bool UsesFileWords(std::string_view prompt_template);

/// What [filewords] stands for without a caption file: the file's name without its last extension,
/// and without the digits and dashes in front, as A1111 has it: "0012-a red house.png" is "a red
/// house".
std::string FileWords(std::string_view file_name);

/// A picture's caption: the text of the file with the same stem and .txt beside it, white space at
/// the ends dropped and inside made single spaces; without such a file, FileWords. InvalidArgument
/// when the text is not UTF-8 or longer than 64 KB.
absl::StatusOr<std::string> ReadCaption(const std::string& image_path);

}  // namespace neolog
