#include "common/tensor_file/torch_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <deque>
#include <utility>

#include "common/tensor_file/half.h"
#include "common/tensor_file/zip.h"

// torch/serialization.py, _save and _legacy_save.

namespace neolog {
namespace {

using Kind = PickleValue::Kind;

// The first of a legacy file's pickles: torch's magic number.
constexpr std::string_view kLegacyMagic =
    "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";

std::string Printable(std::string_view text) {
  std::string printable;
  for (char c : text.substr(0, 100)) printable.push_back(c < 0x20 || c == 0x7f ? '?' : c);
  return printable;
}

uint64_t LittleEndian64(std::string_view bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

bool IsRowMajor(const PickleValue& tensor) {
  int64_t expected = 1;
  for (size_t i = tensor.shape.size(); i-- > 0;) {
    if (tensor.shape[i] != 1 && tensor.stride[i] != expected) return false;
    expected *= tensor.shape[i];
  }
  return true;
}

std::string WhatIs(const PickleValue& value) {
  switch (value.kind) {
    case Kind::kTensor: return "a single tensor";
    case Kind::kList:
    case Kind::kTuple: return "a list";
    case Kind::kObject: {
      std::string name = Printable(value.text);  // "module name"
      std::replace(name.begin(), name.end(), ' ', '.');
      return fmt::format("an object of the class {}, such as a whole model", name);
    }
    default: return "a plain value";
  }
}

}  // namespace

bool TorchFile::IsOne(std::string_view bytes) {
  return bytes.starts_with("PK\x03\x04") || bytes.starts_with(kLegacyMagic);
}

absl::StatusOr<std::unique_ptr<TorchFile>> TorchFile::Parse(std::string_view bytes, Checks checks) {
  auto file = std::make_unique<TorchFile>();
  if (bytes.starts_with(kLegacyMagic)) {
    RETURN_IF_ERROR(file->ParseLegacy(bytes));
  } else {
    RETURN_IF_ERROR(file->ParseZip(bytes, checks));
  }
  return file;
}

absl::Status TorchFile::ParseZip(std::string_view bytes, Checks checks) {
  ASSIGN_OR_RETURN(
      const auto members,
      ReadStoredZip(bytes, checks == Checks::kAll ? ZipChecks::kAll : ZipChecks::kNoChecksums));
  constexpr std::string_view kPickle = "/data.pkl";
  std::string folder;
  for (const auto& [name, data] : members) {
    if (!name.ends_with(kPickle)) continue;
    const std::string parent = name.substr(0, name.size() - kPickle.size());
    if (parent.find('/') != parent.npos) continue;
    if (pickle_ != nullptr)
      return InvalidArgument("the archive has two data.pkl: expected one, as torch.save writes");
    folder = parent;
    ASSIGN_OR_RETURN(pickle_, Pickle::Parse(data));
  }
  if (pickle_ == nullptr)
    return InvalidArgument("the archive has no data.pkl: it was not written by torch.save");
  const auto order = members.find(folder + "/byteorder");
  if (order != members.end() && order->second != "little") {
    return InvalidArgument(fmt::format("its numbers are in '{}' byte order: expected little",
                                       Printable(order->second)));
  }
  for (const auto& [key, storage] : pickle_->storages()) {
    const auto member = members.find(fmt::format("{}/data/{}", folder, key));
    if (member != members.end()) storages_.emplace(key, member->second);
  }
  return absl::OkStatus();
}

// Magic number, protocol version, what machine wrote it, the object, the storages' keys; then, for
// each key, the number of elements in 8 bytes and the elements.
absl::Status TorchFile::ParseLegacy(std::string_view bytes) {
  size_t at = kLegacyMagic.size();
  const auto next = [&](const char* what) -> absl::StatusOr<std::unique_ptr<Pickle>> {
    ASSIGN_OR_RETURN_WITH(auto pickle, Pickle::Parse(bytes.substr(at)),
                          fmt::format("{}, from byte {} on", what, at));
    at += pickle->size();
    return pickle;
  };
  ASSIGN_OR_RETURN(const auto version, next("the version"));
  if (version->root().kind != Kind::kInt || version->root().integer != 1001) {
    return InvalidArgument(fmt::format(
        "byte {}: the file's version is not 1001, the only one torch before 1.6 wrote", at));
  }
  ASSIGN_OR_RETURN(const auto system, next("the description of the machine"));
  const PickleValue* little = FindInDict(system->root(), "little_endian");
  if (little != nullptr && little->kind == Kind::kBool && little->integer == 0)
    return InvalidArgument("its numbers are in big-endian byte order: expected little");
  ASSIGN_OR_RETURN(pickle_, next("the object"));
  ASSIGN_OR_RETURN(const auto keys, next("the list of storages"));
  if (keys->root().kind != Kind::kList)
    return DataLoss(fmt::format("byte {}: no list of keys", at));
  for (const PickleValue* key : keys->root().items) {
    const auto storage = pickle_->storages().find(key->text);
    if (key->kind != Kind::kString || storage == pickle_->storages().end())
      return DataLoss(fmt::format("byte {}: a storage that no tensor has", at));
    if (bytes.size() - at < 8)
      return DataLoss(
          fmt::format("byte {}: the file ends before storage '{}'", at, Printable(key->text)));
    const uint64_t count = LittleEndian64(bytes.substr(at, 8));
    at += 8;
    if (!storage->second->has_type) {
      return InvalidArgument(fmt::format("byte {}: storage '{}' has elements of an unknown type",
                                         at, Printable(key->text)));
    }
    const uint64_t element = SizeOf(storage->second->type);
    if (count > (bytes.size() - at) / element) {
      return DataLoss(fmt::format(
          "byte {}: storage '{}' of {} elements goes beyond the file's end: the file is cut short",
          at, Printable(key->text), count));
    }
    storages_.emplace(key->text, bytes.substr(at, count * element));
    at += count * element;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string_view> TorchFile::StorageOf(const PickleValue& tensor) const {
  if (tensor.kind != Kind::kTensor) return InvalidArgument("expected a tensor");
  if (!tensor.has_type) {
    return InvalidArgument(
        "its elements are of a type that is not read here (8-bit floats, complex numbers): save it "
        "as float16 or float32");
  }
  const auto found = storages_.find(tensor.text);
  if (found == storages_.end())
    return DataLoss(
        fmt::format("the storage '{}' is missing from the file", Printable(tensor.text)));
  const uint64_t element = SizeOf(tensor.type);
  const auto capacity = static_cast<uint64_t>(tensor.integer);
  if (found->second.size() % element != 0 || found->second.size() / element != capacity) {
    return DataLoss(fmt::format("the storage '{}' has {} bytes: expected {} elements of {}",
                                Printable(tensor.text), found->second.size(), capacity,
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
  return found->second;
}

absl::StatusOr<TensorView> TorchFile::View(const PickleValue& tensor, std::string* copy) const {
  copy->clear();
  ASSIGN_OR_RETURN(const std::string_view storage, StorageOf(tensor));
  const uint64_t element = SizeOf(tensor.type);
  uint64_t count = 1;
  for (const int64_t size : tensor.shape) count *= static_cast<uint64_t>(size);
  std::string_view data;
  if (count == 0) {
    // Nothing lies anywhere.
  } else if (IsRowMajor(tensor)) {
    data = storage.substr(static_cast<uint64_t>(tensor.offset) * element, count * element);
  } else {
    copy->reserve(count * element);
    std::vector<uint64_t> index(tensor.shape.size());
    for (uint64_t i = 0; i < count; ++i) {
      uint64_t at = static_cast<uint64_t>(tensor.offset);
      for (size_t d = 0; d < index.size(); ++d)
        at += index[d] * static_cast<uint64_t>(tensor.stride[d]);
      *copy += storage.substr(at * element, element);
      for (size_t d = index.size(); d-- > 0;) {
        if (++index[d] < static_cast<uint64_t>(tensor.shape[d])) break;
        index[d] = 0;
      }
    }
    data = *copy;
  }
  return TensorView{tensor.type, tensor.shape,
                    std::as_bytes(std::span<const char>(data.data(), data.size()))};
}

absl::StatusOr<std::vector<float>> TorchFile::Floats(const PickleValue& tensor) const {
  std::string copy;
  ASSIGN_OR_RETURN(const TensorView view, View(tensor, &copy));
  return ToFloat32(view);
}

namespace {

class StateDict : public TensorFile {
 public:
  static absl::StatusOr<std::unique_ptr<TensorFile>> Open(std::string_view bytes,
                                                          TorchFile::Checks checks,
                                                          std::shared_ptr<const void> owner) {
    ASSIGN_OR_RETURN(const auto file, TorchFile::Parse(bytes, checks));
    const PickleValue& root = file->root();
    if (root.kind != Kind::kDict) {
      return InvalidArgument(
          fmt::format("it holds {}: expected a dictionary of weights", WhatIs(root)));
    }
    const PickleValue* dict = FindInDict(root, "state_dict");
    if (dict == nullptr || dict->kind != Kind::kDict) dict = &root;
    std::unique_ptr<StateDict> result(new StateDict);
    if (owner != nullptr) result->mapped_ = bytes;
    result->owner_ = std::move(owner);
    RETURN_IF_ERROR(result->AddTensors(*file, *dict, bytes.size()));
    if (result->tensors_.empty()) return InvalidArgument("it holds no tensors");
    result->AddMetadata(root);
    return std::unique_ptr<TensorFile>(std::move(result));
  }

  const std::map<std::string, TensorView>& tensors() const override { return tensors_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }
  std::string_view mapped() const override { return mapped_; }

 private:
  absl::Status AddTensors(const TorchFile& file, const PickleValue& dict, size_t most_copied) {
    size_t copied = 0;
    for (size_t i = 0; i + 1 < dict.items.size(); i += 2) {
      const PickleValue &key = *dict.items[i], &value = *dict.items[i + 1];
      if (key.kind != Kind::kString || value.kind != Kind::kTensor) continue;
      std::string copy;
      ASSIGN_OR_RETURN_WITH(TensorView view, file.View(value, &copy),
                            fmt::format("tensor '{}'", Printable(key.text)));
      if (!copy.empty()) {
        copied += copy.size();
        if (copied > most_copied)
          return InvalidArgument("its tensors overlap: together they are larger than the file");
        // A deque's strings stay where they are.
        copies_.push_back(std::move(copy));
        view.data = std::as_bytes(std::span<const char>(copies_.back()));
      }
      tensors_.insert_or_assign(key.text, std::move(view));  // the last of equal keys, as in Python
    }
    return absl::OkStatus();
  }

  void AddMetadata(const PickleValue& root) {
    for (size_t i = 0; i + 1 < root.items.size(); i += 2) {
      const PickleValue &key = *root.items[i], &value = *root.items[i + 1];
      if (key.kind != Kind::kString) continue;
      if (value.kind == Kind::kString) metadata_[key.text] = value.text;
      if (value.kind == Kind::kInt) metadata_[key.text] = fmt::to_string(value.integer);
      if (value.kind == Kind::kFloat) metadata_[key.text] = fmt::to_string(value.number);
    }
  }

  std::shared_ptr<const void> owner_;
  std::string_view mapped_;
  std::deque<std::string> copies_;
  std::map<std::string, TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TensorFile>> OpenStateDict(std::string_view bytes,
                                                          TorchFile::Checks checks,
                                                          std::shared_ptr<const void> owner) {
  return StateDict::Open(bytes, checks, std::move(owner));
}

}  // namespace neolog
