#include "common/tensor_file/pickle.h"

#include <fmt/format.h>

#include <bit>
#include <charconv>

#include "common/tensor_file/pickle_reader.h"

// The opcodes: CPython's Lib/pickletools.py.

namespace neolog {

using Kind = PickleValue::Kind;

absl::StatusOr<std::unique_ptr<Pickle>> PickleReader::Run() {
  bool done = false;
  while (!done) {
    if (at_ >= bytes_.size())
      return DataLoss(fmt::format("pickle byte {}: the pickle ends without STOP", at_));
    start_ = at_;
    RETURN_IF_ERROR(Step(&done));
  }
  RETURN_IF_ERROR(Need(1));
  pickle_->root_ = stack_.back();
  pickle_->size_ = at_;
  return std::move(pickle_);
}

absl::Status PickleReader::Step(bool* done) {
  const auto opcode = static_cast<unsigned char>(bytes_[at_++]);
  switch (opcode) {
    case 0x80: {  // PROTO
      ASSIGN_OR_RETURN(const uint64_t protocol, Number(1));
      return protocol >= 2 && protocol <= 5
                 ? absl::OkStatus()
                 : Refused(fmt::format("pickle protocol {}: expected 2 to 5", protocol));
    }
    case 0x95: return Number(8).status();  // FRAME: what it says of sizes is not needed
    case '.':                              // STOP
      *done = true;
      return absl::OkStatus();
    case '(': return Push(Kind::kMark);
    case '0':  // POP
      if (stack_.empty()) return Damaged("the stack is empty");
      stack_.pop_back();
      return absl::OkStatus();
    case '1': {  // POP_MARK
      ASSIGN_OR_RETURN(const size_t first, AfterMark());
      stack_.resize(first - 1);
      return absl::OkStatus();
    }
    case '2':  // DUP
      RETURN_IF_ERROR(Need(1));
      return PushAgain(stack_.back());
    case 'N': return Push(Kind::kNone);
    case 0x88:
    case 0x89: return Push(Kind::kBool, opcode == 0x88 ? 1 : 0);
    case 'J': {  // BININT
      ASSIGN_OR_RETURN(const uint64_t value, Number(4));
      return Push(Kind::kInt, static_cast<int32_t>(value));
    }
    case 'K':
    case 'M': {  // BININT1, BININT2
      ASSIGN_OR_RETURN(const uint64_t value, Number(opcode == 'K' ? 1 : 2));
      return Push(Kind::kInt, static_cast<int64_t>(value));
    }
    case 0x8a:
    case 0x8b: {  // LONG1, LONG4: two's complement
      ASSIGN_OR_RETURN(const uint64_t size, Number(opcode == 0x8a ? 1 : 4));
      return Long(size);
    }
    case 'G': {  // BINFLOAT, big-endian
      ASSIGN_OR_RETURN(const uint64_t value, Number(8));
      RETURN_IF_ERROR(Push(Kind::kFloat));
      stack_.back()->number = std::bit_cast<double>(__builtin_bswap64(value));
      return absl::OkStatus();
    }
    case 0x8c:
    case 'U':
    case 'C':
    case 'X':
    case 'T':
    case 'B':
    case 0x8d:
    case 0x8e:
    case 0x96: {  // texts and bytes, with a length of 1, 4 or 8 bytes
      const int width = opcode == 0x8c || opcode == 'U' || opcode == 'C'  ? 1
                        : opcode == 'X' || opcode == 'T' || opcode == 'B' ? 4
                                                                          : 8;
      ASSIGN_OR_RETURN(const uint64_t size, Number(width));
      ASSIGN_OR_RETURN(const std::string_view text, Bytes(size));
      return PushText(text);
    }
    case '}': return Push(Kind::kDict);
    case ']':
    case 0x8f: return Push(Kind::kList);  // a set is read as a list
    case ')': return Push(Kind::kTuple);
    case 0x85:
    case 0x86:
    case 0x87: {  // TUPLE1, 2, 3
      const size_t count = opcode - 0x84u;
      RETURN_IF_ERROR(Need(count));
      return Collect(Kind::kTuple, stack_.size() - count, false);
    }
    case 't':
    case 'l':
    case 0x91: {  // TUPLE, LIST, FROZENSET
      ASSIGN_OR_RETURN(const size_t first, AfterMark());
      return Collect(opcode == 't' ? Kind::kTuple : Kind::kList, first, true);
    }
    case 'd': {  // DICT
      ASSIGN_OR_RETURN(const size_t first, AfterMark());
      if ((stack_.size() - first) % 2 != 0) return Damaged("a key without a value");
      return Collect(Kind::kDict, first, true);
    }
    case 'q':
    case 'r': {  // BINPUT, LONG_BINPUT
      ASSIGN_OR_RETURN(const uint64_t index, Number(opcode == 'q' ? 1 : 4));
      return Memoize(index);
    }
    case 0x94: return Memoize(memo_.size());  // MEMOIZE
    case 'h':
    case 'j': {  // BINGET, LONG_BINGET
      ASSIGN_OR_RETURN(const uint64_t index, Number(opcode == 'h' ? 1 : 4));
      return Recall(index);
    }
    case 'a':  // APPEND
      RETURN_IF_ERROR(Need(2));
      return Append(stack_.size() - 1, stack_.size() - 2);
    case 'e':
    case 0x90: {  // APPENDS, ADDITEMS
      ASSIGN_OR_RETURN(const size_t first, AfterMark());
      if (first < 2) return Damaged("the stack is empty");
      return Append(first, first - 2);
    }
    case 's':  // SETITEM
      RETURN_IF_ERROR(Need(3));
      return SetItems(stack_.size() - 2);
    case 'u': {  // SETITEMS
      ASSIGN_OR_RETURN(const size_t first, AfterMark());
      stack_.erase(stack_.begin() + static_cast<std::ptrdiff_t>(first) - 1);
      return SetItems(first - 1);
    }
    case 'c': {  // GLOBAL
      ASSIGN_OR_RETURN(const std::string_view module, Line());
      ASSIGN_OR_RETURN(const std::string_view name, Line());
      return Global(module, name);
    }
    case 0x93: return StackGlobal();
    case 'i': {  // INST
      ASSIGN_OR_RETURN(const std::string_view module, Line());
      ASSIGN_OR_RETURN(const std::string_view name, Line());
      RETURN_IF_ERROR(Global(module, name));
      const std::string global = stack_.back()->text;
      stack_.pop_back();
      ASSIGN_OR_RETURN(const size_t first, AfterMark());
      return Instance(first, global);
    }
    case 'o': {  // OBJ
      ASSIGN_OR_RETURN(const size_t first, AfterMark());
      if (first == stack_.size() || stack_[first]->kind != Kind::kGlobal)
        return Damaged("an instance of what is no class");
      const std::string global = stack_[first]->text;
      stack_.erase(stack_.begin() + static_cast<std::ptrdiff_t>(first));
      return Instance(first, global);
    }
    case 'Q': return PersistentId();
    case 'R':
    case 0x81:  // REDUCE, NEWOBJ
      RETURN_IF_ERROR(Need(2));
      return Call(*stack_[stack_.size() - 2], *stack_.back(), 2);
    case 0x92:  // NEWOBJ_EX: class, arguments, keyword arguments
      RETURN_IF_ERROR(Need(3));
      return Call(*stack_[stack_.size() - 3], *stack_[stack_.size() - 2], 3);
    case 'b': return Build();
    default: {
      bool known = false;
      RETURN_IF_ERROR(StepText(opcode, &known));
      return known ? absl::OkStatus()
                   : Refused(fmt::format("opcode 0x{:02x} is none that files of weights have; the "
                                         "file is damaged or malicious: do not load it elsewhere",
                                         opcode));
    }
  }
}

/// The opcodes of protocol 0, whose operands are lines of text.
absl::Status PickleReader::StepText(unsigned char opcode, bool* known) {
  *known = true;
  switch (opcode) {
    case 'I':
    case 'L': {  // INT, LONG
      ASSIGN_OR_RETURN(std::string_view line, Line());
      if (opcode == 'I' && (line == "00" || line == "01")) return Push(Kind::kBool, line == "01");
      if (opcode == 'L' && line.ends_with('L')) line.remove_suffix(1);
      int64_t value = 0;
      const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
      if (error == std::errc::result_out_of_range) return PushObject("builtins int");
      if (error != std::errc() || end != line.data() + line.size())
        return Damaged("an integer that is none");
      return Push(Kind::kInt, value);
    }
    case 'F': {  // FLOAT
      ASSIGN_OR_RETURN(const std::string_view line, Line());
      double value = 0;
      const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), value);
      if (error == std::errc::invalid_argument || end != line.data() + line.size())
        return Damaged("a number that is none");
      RETURN_IF_ERROR(Push(Kind::kFloat));
      stack_.back()->number = value;
      return absl::OkStatus();
    }
    case 'p':
    case 'g': {  // PUT, GET
      ASSIGN_OR_RETURN(const std::string_view line, Line());
      uint64_t index = 0;
      const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), index);
      if (error != std::errc() || end != line.data() + line.size())
        return Damaged("a memo index that is no number");
      return opcode == 'p' ? Memoize(index) : Recall(index);
    }
    default: *known = false; return absl::OkStatus();
  }
}

absl::Status PickleReader::Long(uint64_t size) {
  if (size > kMaxLongBytes)
    return Refused(fmt::format("an integer of more than {} bytes", kMaxLongBytes));
  if (size > 8) {  // nothing in a file of weights is counted that far: it stays opaque
    RETURN_IF_ERROR(Bytes(size).status());
    return PushObject("builtins int");
  }
  ASSIGN_OR_RETURN(uint64_t value, Number(static_cast<int>(size)));
  if (size > 0 && size < 8 && (value >> (8 * size - 1) & 1) != 0)
    value |= ~uint64_t{0} << (8 * size);
  return Push(Kind::kInt, static_cast<int64_t>(value));
}

absl::Status PickleReader::Memoize(uint64_t index) {
  RETURN_IF_ERROR(Need(1));
  if (memo_.size() == kMaxValues)
    return Refused(fmt::format("more than {} memo entries", kMaxValues));
  memo_[index] = stack_.back();
  return absl::OkStatus();
}

absl::Status PickleReader::Recall(uint64_t index) {
  const auto it = memo_.find(index);
  if (it == memo_.end()) return Damaged(fmt::format("memo entry {} was never stored", index));
  return PushAgain(it->second);
}

/// Puts the keys and values from `first` on into the dictionary before them.
absl::Status PickleReader::SetItems(size_t first) {
  if (first == 0) return Damaged("the stack is empty");
  PickleValue& dict = *stack_[first - 1];
  if (dict.kind != Kind::kDict && dict.kind != Kind::kObject)
    return Damaged("SETITEM on what is no dictionary");
  if ((stack_.size() - first) % 2 != 0) return Damaged("a key without a value");
  RETURN_IF_ERROR(CountReferences(stack_.size() - first));
  // What an unknown class would do with items is not known: they are dropped.
  if (dict.kind == Kind::kDict) {
    dict.items.insert(dict.items.end(), stack_.begin() + static_cast<std::ptrdiff_t>(first),
                      stack_.end());
  }
  stack_.resize(first);
  return absl::OkStatus();
}

/// Puts the values from `first` on into the list at `container`; what lies between goes too.
absl::Status PickleReader::Append(size_t first, size_t container) {
  PickleValue& list = *stack_[container];
  if (list.kind != Kind::kList && list.kind != Kind::kObject)
    return Damaged("APPEND to what is no list");
  RETURN_IF_ERROR(CountReferences(stack_.size() - first));
  if (list.kind == Kind::kList) {
    list.items.insert(list.items.end(), stack_.begin() + static_cast<std::ptrdiff_t>(first),
                      stack_.end());
  }
  stack_.resize(container + 1);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Pickle>> Pickle::Parse(std::string_view bytes) {
  return PickleReader(bytes).Run();
}

const PickleValue* FindInDict(const PickleValue& dict, std::string_view key) {
  if (dict.kind != Kind::kDict) return nullptr;
  for (size_t i = dict.items.size(); i >= 2; i -= 2) {
    const PickleValue& candidate = *dict.items[i - 2];
    if (candidate.kind == Kind::kString && candidate.text == key) return dict.items[i - 1];
  }
  return nullptr;
}

}  // namespace neolog
