#include "common/tensor_file/pickle.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <unordered_map>

#include "common/tensor_file/half.h"
#include "common/tensor_file/zip.h"

// The opcodes: CPython's Lib/pickletools.py.

namespace neolog {
namespace {

using Kind = PickleValue::Kind;

constexpr size_t kMaxValues = 200'000;  // a whole SD checkpoint has about 40,000
constexpr size_t kMaxTextBytes = 64 << 20;
constexpr size_t kMaxGlobalBytes = 200;
constexpr size_t kMaxRank = 16;

struct StorageRow {
  std::string_view global;
  TensorType type;
};
constexpr std::array<StorageRow, 10> kStorages = {{{"torch FloatStorage", TensorType::kFloat32},
                                                   {"torch HalfStorage", TensorType::kFloat16},
                                                   {"torch BFloat16Storage", TensorType::kBFloat16},
                                                   {"torch DoubleStorage", TensorType::kFloat64},
                                                   {"torch LongStorage", TensorType::kInt64},
                                                   {"torch IntStorage", TensorType::kInt32},
                                                   {"torch ShortStorage", TensorType::kInt16},
                                                   {"torch CharStorage", TensorType::kInt8},
                                                   {"torch ByteStorage", TensorType::kUint8},
                                                   {"torch BoolStorage", TensorType::kBool}}};
constexpr std::string_view kRebuildTensor = "torch._utils _rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils _rebuild_parameter";
constexpr std::string_view kOrderedDict = "collections OrderedDict";
constexpr std::string_view kParameterDict = "torch.nn.modules.container ParameterDict";
constexpr std::array<std::string_view, 2> kSets = {"__builtin__ set", "builtins set"};

const StorageRow* StorageOf(std::string_view global) {
  const auto it = std::find_if(kStorages.begin(), kStorages.end(),
                               [&](const StorageRow& r) { return r.global == global; });
  return it == kStorages.end() ? nullptr : &*it;
}

bool IsSet(std::string_view global) {
  return std::find(kSets.begin(), kSets.end(), global) != kSets.end();
}

bool IsAllowed(std::string_view global) {
  return StorageOf(global) != nullptr || global == kRebuildTensor || global == kRebuildParameter ||
         global == kOrderedDict || global == kParameterDict || IsSet(global);
}

std::string Printable(std::string_view text) {
  std::string printable;
  for (char c : text) printable.push_back(c < 0x20 || c == 0x7f ? '?' : c);
  return printable;
}

}  // namespace

/// The pickle machine: a stack, a memo, and a table of opcodes without any that call.
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
  absl::Status Global();
  absl::Status Reduce(bool new_object);
  absl::Status RebuildTensor(const PickleValue& arguments);
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
  absl::StatusOr<PickleValue*> New(Kind kind) {
    if (pickle_->values_.size() == kMaxValues)
      return Refused(fmt::format("more than {} values", kMaxValues));
    PickleValue& value = pickle_->values_.emplace_back();
    value.kind = kind;
    return &value;
  }
  absl::Status Push(Kind kind, int64_t integer = 0) {
    ASSIGN_OR_RETURN(PickleValue * value, New(kind));
    value->integer = integer;
    stack_.push_back(value);
    return absl::OkStatus();
  }
  absl::Status PushText(std::string_view text) {
    text_bytes_ += text.size();
    if (text_bytes_ > kMaxTextBytes)
      return Refused(fmt::format("more than {} bytes of text", kMaxTextBytes));
    RETURN_IF_ERROR(Push(Kind::kString));
    stack_.back()->text = text;
    return absl::OkStatus();
  }
  /// The `count` topmost values, none of them a mark.
  absl::Status Need(size_t count) const {
    if (stack_.size() < count) return Damaged("the stack is empty");
    for (size_t i = stack_.size() - count; i < stack_.size(); ++i) {
      if (stack_[i]->kind == Kind::kMark) return Damaged("a mark where a value is expected");
    }
    return absl::OkStatus();
  }
  /// Index of the value behind the topmost mark; the mark itself stands before it.
  absl::StatusOr<size_t> AfterMark() const {
    for (size_t i = stack_.size(); i > 0; --i) {
      if (stack_[i - 1]->kind == Kind::kMark) return i;
    }
    return Damaged("no mark on the stack");
  }
  /// Puts the values from `first` on into a new list or tuple; takes the mark away too when
  /// `marked`.
  absl::Status Collect(Kind kind, size_t first, bool marked) {
    ASSIGN_OR_RETURN(PickleValue * value, New(kind));
    RETURN_IF_ERROR(CountReferences(stack_.size() - first));
    value->items.assign(stack_.begin() + static_cast<std::ptrdiff_t>(first), stack_.end());
    stack_.resize(marked ? first - 1 : first);
    stack_.push_back(value);
    return absl::OkStatus();
  }
  absl::Status CountReferences(size_t count) {
    references_ += count;
    return references_ > 4 * kMaxValues ? Refused("too many items") : absl::OkStatus();
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
  return std::move(pickle_);
}

absl::Status PickleReader::Step(bool* done) {
  const auto opcode = static_cast<unsigned char>(bytes_[at_++]);
  switch (opcode) {
    case 0x80: {  // PROTO
      ASSIGN_OR_RETURN(const uint64_t protocol, Number(1));
      return protocol == 2 ? absl::OkStatus()
                           : Refused(fmt::format("pickle protocol {}: expected 2, torch.save's own",
                                                 protocol));
    }
    case '.':  // STOP
      *done = true;
      return absl::OkStatus();
    case '(': return Push(Kind::kMark);
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
    case 0x8a: {  // LONG1: two's complement of 0 to 8 bytes
      ASSIGN_OR_RETURN(const uint64_t size, Number(1));
      if (size > 8) return Refused("an integer of more than 64 bits");
      ASSIGN_OR_RETURN(uint64_t value, Number(static_cast<int>(size)));
      if (size > 0 && size < 8 && (value >> (8 * size - 1) & 1) != 0)
        value |= ~uint64_t{0} << (8 * size);
      return Push(Kind::kInt, static_cast<int64_t>(value));
    }
    case 'G': {  // BINFLOAT, big-endian
      ASSIGN_OR_RETURN(const uint64_t value, Number(8));
      RETURN_IF_ERROR(Push(Kind::kFloat));
      stack_.back()->number = std::bit_cast<double>(__builtin_bswap64(value));
      return absl::OkStatus();
    }
    case 'X': {  // BINUNICODE
      ASSIGN_OR_RETURN(const uint64_t size, Number(4));
      ASSIGN_OR_RETURN(const std::string_view text, Bytes(size));
      return PushText(text);
    }
    case '}': return Push(Kind::kDict);
    case ']': return Push(Kind::kList);
    case ')': return Push(Kind::kTuple);
    case 0x85:
    case 0x86:
    case 0x87: {  // TUPLE1, 2, 3
      const size_t count = opcode - 0x84u;
      RETURN_IF_ERROR(Need(count));
      return Collect(Kind::kTuple, stack_.size() - count, false);
    }
    case 't': {  // TUPLE
      ASSIGN_OR_RETURN(const size_t first, AfterMark());
      return Collect(Kind::kTuple, first, true);
    }
    case 'q':
    case 'r': {  // BINPUT, LONG_BINPUT
      ASSIGN_OR_RETURN(const uint64_t index, Number(opcode == 'q' ? 1 : 4));
      return Memoize(index);
    }
    case 'h':
    case 'j': {  // BINGET, LONG_BINGET
      ASSIGN_OR_RETURN(const uint64_t index, Number(opcode == 'h' ? 1 : 4));
      return Recall(index);
    }
    case 'a':
    case 'e': {  // APPEND, APPENDS
      size_t first = 0;
      if (opcode == 'a') {
        RETURN_IF_ERROR(Need(2));
        first = stack_.size() - 1;
      } else {
        ASSIGN_OR_RETURN(first, AfterMark());
        if (first < 2) return Damaged("the stack is empty");
      }
      const size_t list = opcode == 'a' ? first - 1 : first - 2;
      if (stack_[list]->kind != Kind::kList) return Damaged("APPEND to what is no list");
      RETURN_IF_ERROR(CountReferences(stack_.size() - first));
      auto& items = stack_[list]->items;
      items.insert(items.end(), stack_.begin() + static_cast<std::ptrdiff_t>(first), stack_.end());
      stack_.resize(list + 1);
      return absl::OkStatus();
    }
    case 's':  // SETITEM
      RETURN_IF_ERROR(Need(3));
      return SetItems(stack_.size() - 2);
    case 'u': {  // SETITEMS
      ASSIGN_OR_RETURN(const size_t first, AfterMark());
      stack_.erase(stack_.begin() + static_cast<std::ptrdiff_t>(first) - 1);
      return SetItems(first - 1);
    }
    case 'c': return Global();
    case 'Q': return PersistentId();
    case 'R': return Reduce(false);
    case 0x81: return Reduce(true);
    case 'b': return Build();
    default:
      return Refused(
          fmt::format("opcode 0x{:02x} is not one that plain values and tensors need; the file may "
                      "be malicious: do not load it elsewhere",
                      opcode));
  }
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
  // The stack is not counted among the values: bound it by itself.
  if (stack_.size() > kMaxValues) return Refused("the stack is too deep");
  stack_.push_back(it->second);
  return absl::OkStatus();
}

/// Puts the keys and values from `first` on into the dictionary before them.
absl::Status PickleReader::SetItems(size_t first) {
  if (first == 0 || stack_[first - 1]->kind != Kind::kDict)
    return Damaged("SETITEM on what is no dictionary");
  if ((stack_.size() - first) % 2 != 0) return Damaged("a key without a value");
  RETURN_IF_ERROR(CountReferences(stack_.size() - first));
  auto& items = stack_[first - 1]->items;
  items.insert(items.end(), stack_.begin() + static_cast<std::ptrdiff_t>(first), stack_.end());
  stack_.resize(first);
  return absl::OkStatus();
}

absl::Status PickleReader::Global() {
  ASSIGN_OR_RETURN(const std::string_view module, Line());
  ASSIGN_OR_RETURN(const std::string_view name, Line());
  const std::string global = fmt::format("{} {}", module, name);
  if (!IsAllowed(global)) {
    return Refused(
        fmt::format("the file wants to use '{}.{}', which an embedding or checkpoint does not "
                    "need; it may be malicious: do not load it elsewhere",
                    Printable(module), Printable(name)));
  }
  RETURN_IF_ERROR(Push(Kind::kGlobal));
  stack_.back()->text = global;
  return absl::OkStatus();
}

absl::Status PickleReader::PersistentId() {
  RETURN_IF_ERROR(Need(1));
  const PickleValue& id = *stack_.back();
  const auto& items = id.items;
  if (id.kind != Kind::kTuple || items.size() != 5 || items[0]->kind != Kind::kString ||
      items[0]->text != "storage" || items[1]->kind != Kind::kGlobal ||
      items[2]->kind != Kind::kString || items[4]->kind != Kind::kInt || items[4]->integer < 0) {
    return Damaged("a persistent id that is no storage");
  }
  const StorageRow* row = StorageOf(items[1]->text);
  if (row == nullptr) return Damaged("a storage of an unknown type");
  ASSIGN_OR_RETURN(PickleValue * storage, New(Kind::kStorage));
  text_bytes_ += items[2]->text.size();
  if (text_bytes_ > kMaxTextBytes) return Refused("too much text");
  storage->type = row->type;
  storage->text = items[2]->text;
  storage->integer = items[4]->integer;
  stack_.back() = storage;
  return absl::OkStatus();
}

absl::Status PickleReader::Reduce(bool new_object) {
  RETURN_IF_ERROR(Need(2));
  const PickleValue& callable = *stack_[stack_.size() - 2];
  const PickleValue& arguments = *stack_.back();
  if (callable.kind != Kind::kGlobal || arguments.kind != Kind::kTuple)
    return Damaged("a call of what is no function");
  const std::string& global = callable.text;
  if (new_object != (global == kParameterDict))
    return Refused(fmt::format("'{}' is used in an unexpected way", global));
  if (global == kRebuildTensor) return RebuildTensor(arguments);
  if (global == kRebuildParameter) {
    if (arguments.items.empty() || arguments.items[0]->kind != Kind::kTensor)
      return Damaged("a parameter without a tensor");
    PickleValue* tensor = arguments.items[0];
    stack_.resize(stack_.size() - 2);
    stack_.push_back(tensor);
    return absl::OkStatus();
  }
  if (global == kParameterDict || (global == kOrderedDict && arguments.items.empty())) {
    stack_.resize(stack_.size() - 2);
    return Push(global == kOrderedDict ? Kind::kDict : Kind::kObject);
  }
  if (IsSet(global) && arguments.items.size() == 1 && arguments.items[0]->kind == Kind::kList) {
    PickleValue* list = arguments.items[0];
    stack_.resize(stack_.size() - 2);
    stack_.push_back(list);
    return absl::OkStatus();
  }
  return Refused(fmt::format("'{}' is called with unexpected arguments", global));
}

absl::Status PickleReader::RebuildTensor(const PickleValue& arguments) {
  const auto& items = arguments.items;
  if (items.size() < 6 || items[0]->kind != Kind::kStorage || items[1]->kind != Kind::kInt ||
      items[1]->integer < 0 || items[2]->kind != Kind::kTuple || items[3]->kind != Kind::kTuple ||
      items[2]->items.size() != items[3]->items.size() || items[2]->items.size() > kMaxRank) {
    return Damaged("a tensor that does not say storage, offset, size and stride");
  }
  ASSIGN_OR_RETURN(PickleValue * tensor, New(Kind::kTensor));
  for (size_t i = 0; i < items[2]->items.size(); ++i) {
    const PickleValue& size = *items[2]->items[i];
    const PickleValue& stride = *items[3]->items[i];
    if (size.kind != Kind::kInt || stride.kind != Kind::kInt || size.integer < 0 ||
        stride.integer < 0) {
      return Damaged("a tensor with a size or stride that is no natural number");
    }
    tensor->shape.push_back(size.integer);
    tensor->stride.push_back(stride.integer);
  }
  text_bytes_ += items[0]->text.size();
  if (text_bytes_ > kMaxTextBytes) return Refused("too much text");
  tensor->type = items[0]->type;
  tensor->text = items[0]->text;
  tensor->integer = items[0]->integer;
  tensor->offset = items[1]->integer;
  stack_.resize(stack_.size() - 2);
  stack_.push_back(tensor);
  return absl::OkStatus();
}

absl::Status PickleReader::Build() {
  RETURN_IF_ERROR(Need(2));
  PickleValue* object = stack_[stack_.size() - 2];
  PickleValue* state = stack_.back();
  // OrderedDict may carry attributes of its own; nothing in an embedding needs them.
  if (object->kind != Kind::kObject && object->kind != Kind::kDict)
    return Damaged("BUILD of what is no object");
  if (object->kind == Kind::kObject) object->items.assign(1, state);
  stack_.pop_back();
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

absl::StatusOr<std::unique_ptr<TorchFile>> TorchFile::Parse(std::string_view bytes) {
  if (bytes.starts_with("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")) {
    return InvalidArgument(
        "it was saved by torch 1.5 or older: open it with a newer torch and save it again");
  }
  auto file = std::make_unique<TorchFile>();
  ASSIGN_OR_RETURN(file->members_, ReadStoredZip(bytes));
  constexpr std::string_view kPickle = "/data.pkl";
  for (const auto& [name, data] : file->members_) {
    if (!name.ends_with(kPickle)) continue;
    const std::string folder = name.substr(0, name.size() - kPickle.size());
    if (folder.find('/') != folder.npos) continue;
    if (file->pickle_ != nullptr)
      return InvalidArgument("the archive has two data.pkl: expected one, as torch.save writes");
    file->folder_ = folder;
    ASSIGN_OR_RETURN(file->pickle_, Pickle::Parse(data));
  }
  if (file->pickle_ == nullptr)
    return InvalidArgument("the archive has no data.pkl: it was not written by torch.save");
  const auto order = file->members_.find(file->folder_ + "/byteorder");
  if (order != file->members_.end() && order->second != "little") {
    return InvalidArgument(fmt::format("its numbers are in '{}' byte order: expected little",
                                       Printable(order->second.substr(0, 20))));
  }
  return file;
}

absl::StatusOr<std::vector<float>> TorchFile::Floats(const PickleValue& tensor) const {
  if (tensor.kind != Kind::kTensor) return InvalidArgument("expected a tensor");
  const auto member = members_.find(fmt::format("{}/data/{}", folder_, tensor.text));
  if (member == members_.end())
    return DataLoss(
        fmt::format("the storage '{}' is missing from the archive", Printable(tensor.text)));
  const uint64_t element = SizeOf(tensor.type);
  const auto capacity = static_cast<uint64_t>(tensor.integer);
  if (member->second.size() % element != 0 || member->second.size() / element != capacity) {
    return DataLoss(fmt::format("the storage '{}' has {} bytes: expected {} elements of {}",
                                Printable(tensor.text), member->second.size(), capacity,
                                NameOf(tensor.type)));
  }
  // The last element's index and the number of elements, without overflow; a stride of 0 would make
  // many of few.
  uint64_t count = 1;
  uint64_t last = static_cast<uint64_t>(tensor.offset);
  bool fits = true;
  for (size_t i = 0; i < tensor.shape.size(); ++i) {
    const auto size = static_cast<uint64_t>(tensor.shape[i]);
    uint64_t reach = 0;
    fits = fits && !__builtin_mul_overflow(count, size, &count) &&
           (size == 0 ||
            (!__builtin_mul_overflow(size - 1, static_cast<uint64_t>(tensor.stride[i]), &reach) &&
             !__builtin_add_overflow(last, reach, &last)));
  }
  if (!fits || count > capacity || (count > 0 && last >= capacity)) {
    return DataLoss(fmt::format("a tensor of shape [{}] reaches outside its storage of {} elements",
                                fmt::join(tensor.shape, ", "), capacity));
  }
  std::string packed;
  packed.reserve(count * element);
  std::vector<uint64_t> index(tensor.shape.size());
  for (uint64_t i = 0; i < count; ++i) {
    uint64_t at = static_cast<uint64_t>(tensor.offset);
    for (size_t d = 0; d < index.size(); ++d)
      at += index[d] * static_cast<uint64_t>(tensor.stride[d]);
    packed += member->second.substr(at * element, element);
    for (size_t d = index.size(); d-- > 0;) {
      if (++index[d] < static_cast<uint64_t>(tensor.shape[d])) break;
      index[d] = 0;
    }
  }
  return ToFloat32({tensor.type, tensor.shape,
                    std::as_bytes(std::span<const char>(packed.data(), packed.size()))});
}

}  // namespace neolog
