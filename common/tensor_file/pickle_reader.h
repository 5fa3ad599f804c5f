#pragma once

#include <fmt/format.h>

#include <memory>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/tensor_file/pickle.h"

// Internal to pickle.cc and pickle_calls.cc.

namespace neolog {

inline constexpr size_t kMaxValues = 500'000;  // SDXL has 2,500 tensors, each some 25 values
inline constexpr size_t kMaxReferences = 4 * kMaxValues;
inline constexpr size_t kMaxLongBytes = 1 << 16;
inline constexpr size_t kMaxTextBytes = 64 << 20;
inline constexpr size_t kMaxGlobalBytes = 200;

/// The pickle machine: a stack, a memo, and a table of opcodes. Calls only build data.
class PickleReader {
 public:
  explicit PickleReader(std::string_view bytes)
      : bytes_(bytes), pickle_(std::make_unique<Pickle>()) {}
  absl::StatusOr<std::unique_ptr<Pickle>> Run();

 private:
  absl::Status Damaged(std::string_view what) const {
    return DataLoss(fmt::format("pickle byte {}: {}", start_, what));
  }
  absl::Status Refused(std::string_view what) const {
    return InvalidArgument(fmt::format("pickle byte {}: {}", start_, what));
  }

  absl::Status Step(bool* done);
  absl::Status StepText(unsigned char opcode, bool* known);
  absl::Status Global(std::string_view module, std::string_view name);
  absl::Status StackGlobal();
  absl::Status Instance(size_t first_argument, std::string_view global);
  /// Puts what `global` gives for `arguments` in the place of the topmost `taken` values.
  absl::Status Call(const PickleValue& callable, const PickleValue& arguments, size_t taken);
  absl::Status CallDict(const PickleValue& arguments, size_t taken);
  absl::Status RebuildTensor(const PickleValue& arguments, size_t taken);
  absl::Status Append(size_t first, size_t container);
  absl::Status Replace(size_t taken, PickleValue* value);
  absl::Status PersistentId();
  absl::Status Build();
  absl::Status SetItems(size_t first);
  absl::Status Memoize(uint64_t index);
  absl::Status Recall(uint64_t index);

  absl::StatusOr<uint64_t> Number(int size) {
    if (bytes_.size() - at_ < static_cast<size_t>(size))
      return Damaged("the pickle ends inside an operand");
    uint64_t value = 0;
    for (int i = size - 1; i >= 0; --i)
      value = value << 8 | static_cast<unsigned char>(bytes_[at_ + static_cast<size_t>(i)]);
    at_ += static_cast<size_t>(size);
    return value;
  }
  absl::StatusOr<std::string_view> Bytes(uint64_t size) {
    if (size > bytes_.size() - at_) return Damaged("the pickle ends inside a text");
    const std::string_view part = bytes_.substr(at_, size);
    at_ += size;
    return part;
  }
  absl::StatusOr<std::string_view> Line() {
    const size_t newline = bytes_.substr(at_, kMaxGlobalBytes + 1).find('\n');
    if (newline == std::string_view::npos)
      return Damaged(fmt::format("a name longer than {} bytes, or cut", kMaxGlobalBytes));
    const std::string_view line = bytes_.substr(at_, newline);
    at_ += newline + 1;
    return line;
  }
  absl::StatusOr<PickleValue*> New(PickleValue::Kind kind) {
    if (pickle_->values_.size() == kMaxValues)
      return Refused(fmt::format("more than {} values", kMaxValues));
    PickleValue& value = pickle_->values_.emplace_back();
    value.kind = kind;
    return &value;
  }
  absl::Status Push(PickleValue::Kind kind, int64_t integer = 0) {
    ASSIGN_OR_RETURN(PickleValue * value, New(kind));
    value->integer = integer;
    stack_.push_back(value);
    return absl::OkStatus();
  }
  absl::Status PushAgain(PickleValue* value) {
    // The stack is not counted among the values: bound it by itself.
    if (stack_.size() > kMaxValues) return Refused("the stack is too deep");
    stack_.push_back(value);
    return absl::OkStatus();
  }
  /// An opaque value: what it is called is all that is known of it.
  absl::Status PushObject(std::string_view global) {
    RETURN_IF_ERROR(CountText(global));
    RETURN_IF_ERROR(Push(PickleValue::Kind::kObject));
    stack_.back()->text = global;
    return absl::OkStatus();
  }
  absl::Status CountText(std::string_view text) {
    text_bytes_ += text.size();
    return text_bytes_ > kMaxTextBytes
               ? Refused(fmt::format("more than {} bytes of text", kMaxTextBytes))
               : absl::OkStatus();
  }
  absl::Status Long(uint64_t size);
  absl::Status PushText(std::string_view text) {
    RETURN_IF_ERROR(CountText(text));
    RETURN_IF_ERROR(Push(PickleValue::Kind::kString));
    stack_.back()->text = text;
    return absl::OkStatus();
  }
  /// The `count` topmost values, none of them a mark.
  absl::Status Need(size_t count) const {
    if (stack_.size() < count) return Damaged("the stack is empty");
    for (size_t i = stack_.size() - count; i < stack_.size(); ++i) {
      if (stack_[i]->kind == PickleValue::Kind::kMark)
        return Damaged("a mark where a value is expected");
    }
    return absl::OkStatus();
  }
  /// Index of the value behind the topmost mark; the mark itself stands before it.
  absl::StatusOr<size_t> AfterMark() const {
    for (size_t i = stack_.size(); i > 0; --i) {
      if (stack_[i - 1]->kind == PickleValue::Kind::kMark) return i;
    }
    return Damaged("no mark on the stack");
  }
  /// Puts the values from `first` on into a new list or tuple; takes the mark away too when
  /// `marked`.
  absl::Status Collect(PickleValue::Kind kind, size_t first, bool marked) {
    ASSIGN_OR_RETURN(PickleValue * value, New(kind));
    RETURN_IF_ERROR(CountReferences(stack_.size() - first));
    value->items.assign(stack_.begin() + static_cast<std::ptrdiff_t>(first), stack_.end());
    stack_.resize(marked ? first - 1 : first);
    stack_.push_back(value);
    return absl::OkStatus();
  }
  absl::Status CountReferences(size_t count) {
    references_ += count;
    return references_ > kMaxReferences ? Refused("too many items") : absl::OkStatus();
  }

  const std::string_view bytes_;
  size_t at_ = 0;
  size_t start_ = 0;  // of the opcode being read
  size_t text_bytes_ = 0;
  size_t references_ = 0;
  std::unique_ptr<Pickle> pickle_;
  std::vector<PickleValue*> stack_;
  std::unordered_map<uint64_t, PickleValue*> memo_;
};

}  // namespace neolog
