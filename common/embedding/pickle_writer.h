#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace neolog {

/// Writes the opcodes of pickle protocol 2 that the dictionary needs, with the memo entries Python
/// would make: some readers of other programs count on them.
class PickleWriter {
 public:
  PickleWriter() { bytes_ = "\x80\x02"; }
  void Raw(std::string_view opcodes) { bytes_ += opcodes; }
  void Text(std::string_view text) {
    bytes_ += 'X';
    Number(text.size(), 4);
    bytes_ += text;
    Memo();
  }
  void OptionalText(const std::optional<std::string>& text) {
    if (text) {
      Text(*text);
    } else {
      bytes_ += 'N';
    }
  }
  void Integer(int64_t value) {
    if (value >= 0 && value < 256) {
      bytes_ += 'K';
      Number(static_cast<uint64_t>(value), 1);
    } else if (value >= 0 && value < 65536) {
      bytes_ += 'M';
      Number(static_cast<uint64_t>(value), 2);
    } else if (value >= std::numeric_limits<int32_t>::min() &&
               value <= std::numeric_limits<int32_t>::max()) {
      bytes_ += 'J';
      Number(static_cast<uint64_t>(value), 4);
    } else {
      bytes_ += "\x8a\x08";
      Number(static_cast<uint64_t>(value), 8);
    }
  }
  void Global(std::string_view module, std::string_view name) {
    bytes_ += fmt::format("c{}\n{}\n", module, name);
    Memo();
  }
  void EmptyDict() {
    bytes_ += '}';
    Memo();
  }
  /// BINPUT: what was pushed last gets the next memo entry.
  void Memo() {
    bytes_ += 'q';
    bytes_ += static_cast<char>(memo_++);
  }
  std::string Finish() { return bytes_ + "."; }

 private:
  void Number(uint64_t value, int size) {
    for (int i = 0; i < size; ++i) bytes_.push_back(static_cast<char>(value >> (8 * i) & 0xff));
  }

  std::string bytes_;
  int memo_ = 0;
};

}  // namespace neolog
