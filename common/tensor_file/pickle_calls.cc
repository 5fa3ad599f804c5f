#include <fmt/format.h>

#include <string>

#include "common/tensor_file/pickle_globals.h"
#include "common/tensor_file/pickle_reader.h"

// What a pickle calls, and what becomes of it: data.

namespace neolog {

using Kind = PickleValue::Kind;

namespace {

constexpr size_t kMaxRank = 16;

std::string Printable(std::string_view text) {
  std::string printable;
  for (char c : text) printable.push_back(c < 0x20 || c == 0x7f ? '?' : c);
  return printable;
}

}  // namespace

absl::Status PickleReader::Replace(size_t taken, PickleValue* value) {
  stack_.resize(stack_.size() - taken);
  stack_.push_back(value);
  return absl::OkStatus();
}

absl::Status PickleReader::Global(std::string_view module, std::string_view name) {
  if (module.empty() || name.empty() || module.size() > kMaxGlobalBytes ||
      name.size() > kMaxGlobalBytes || module.find(' ') != module.npos) {
    return Damaged(fmt::format("a name that is none: '{}.{}'",
                               Printable(module.substr(0, kMaxGlobalBytes)),
                               Printable(name.substr(0, kMaxGlobalBytes))));
  }
  if (MeaningOf(module, name) == PickleGlobal::kRefused) {
    return Refused(
        fmt::format("the file wants to call {}.{}, which weights never need: it may be malicious, "
                    "do not load it elsewhere",
                    Printable(module), Printable(name)));
  }
  const std::string global = fmt::format("{} {}", module, name);
  RETURN_IF_ERROR(CountText(global));
  RETURN_IF_ERROR(Push(Kind::kGlobal));
  stack_.back()->text = global;
  return absl::OkStatus();
}

absl::Status PickleReader::StackGlobal() {
  RETURN_IF_ERROR(Need(2));
  const PickleValue &module = *stack_[stack_.size() - 2], &name = *stack_.back();
  if (module.kind != Kind::kString || name.kind != Kind::kString)
    return Damaged("a name that is no text");
  stack_.resize(stack_.size() - 2);
  return Global(module.text, name.text);
}

/// An object of protocol 0 or 1, with the arguments from `first` on, behind a mark.
absl::Status PickleReader::Instance(size_t first_argument, std::string_view global) {
  RETURN_IF_ERROR(Collect(Kind::kTuple, first_argument, true));
  PickleValue* arguments = stack_.back();
  stack_.pop_back();
  RETURN_IF_ERROR(PushObject(global));
  stack_.back()->items.assign(1, arguments);
  return absl::OkStatus();
}

absl::Status PickleReader::PersistentId() {
  RETURN_IF_ERROR(Need(1));
  const PickleValue& id = *stack_.back();
  const auto& items = id.items;
  if (id.kind == Kind::kTuple && !items.empty() && items[0]->kind == Kind::kString &&
      items[0]->text == "module") {  // a class whose source torch before 1.6 put beside it
    stack_.pop_back();
    return PushObject("torch.nn Module");
  }
  if (id.kind != Kind::kTuple || items.size() < 5 || items.size() > 6 ||
      items[0]->kind != Kind::kString || items[0]->text != "storage" ||
      items[1]->kind != Kind::kGlobal || items[2]->kind != Kind::kString ||
      items[4]->kind != Kind::kInt || items[4]->integer < 0) {
    return Damaged("a persistent id that is no storage");
  }
  const std::string_view global = items[1]->text;
  const size_t space = global.find(' ');
  if (MeaningOf(global.substr(0, space), global.substr(space + 1)) != PickleGlobal::kStorage)
    return Damaged("a storage of an unknown class");
  ASSIGN_OR_RETURN(PickleValue * storage, New(Kind::kStorage));
  RETURN_IF_ERROR(CountText(items[2]->text));
  storage->has_type = StorageTypeOf(global.substr(space + 1), &storage->type);
  storage->text = items[2]->text;
  storage->integer = items[4]->integer;
  if (items.size() == 6 && items[5]->kind != Kind::kNone) {  // torch before 1.6: a part of another
    const PickleValue& view = *items[5];
    if (view.kind != Kind::kTuple || view.items.size() != 3 || view.items[1]->kind != Kind::kInt ||
        view.items[1]->integer < 0 || view.items[1]->integer > storage->integer) {
      return Damaged("a view of a storage that says no place");
    }
    storage->offset = view.items[1]->integer;
  }
  const auto [known, is_new] = pickle_->storages_.emplace(storage->text, storage);
  if (!is_new &&
      (known->second->type != storage->type || known->second->has_type != storage->has_type ||
       known->second->integer != storage->integer)) {
    return Damaged("a storage with two types or sizes");
  }
  stack_.back() = storage;
  return absl::OkStatus();
}

absl::Status PickleReader::Call(const PickleValue& callable, const PickleValue& arguments,
                                size_t taken) {
  if (callable.kind == Kind::kObject) {  // what an unknown call gave is called again
    PickleValue* object = stack_[stack_.size() - taken];
    return Replace(taken, object);
  }
  if (callable.kind != Kind::kGlobal || arguments.kind != Kind::kTuple)
    return Damaged("a call of what is no function");
  const std::string_view global = callable.text;
  const size_t space = global.find(' ');
  switch (MeaningOf(global.substr(0, space), global.substr(space + 1))) {
    case PickleGlobal::kRebuildTensor: return RebuildTensor(arguments, taken);
    case PickleGlobal::kRebuildFromType:
      if (arguments.items.size() < 3 || arguments.items[2]->kind != Kind::kTuple)
        return Damaged("a tensor without its parts");
      return RebuildTensor(*arguments.items[2], taken);
    case PickleGlobal::kRebuildParameter:
      if (arguments.items.empty() || arguments.items[0]->kind != Kind::kTensor)
        return Damaged("a parameter without a tensor");
      return Replace(taken, arguments.items[0]);
    case PickleGlobal::kDict: return CallDict(arguments, taken);
    case PickleGlobal::kSet:
    case PickleGlobal::kTuple:
      if (arguments.items.size() == 1 &&
          (arguments.items[0]->kind == Kind::kList || arguments.items[0]->kind == Kind::kTuple)) {
        return Replace(taken, arguments.items[0]);
      }
      [[fallthrough]];
    case PickleGlobal::kStorage:
    case PickleGlobal::kRefused:
    case PickleGlobal::kInert: break;
  }
  ASSIGN_OR_RETURN(PickleValue * object, New(Kind::kObject));
  RETURN_IF_ERROR(CountText(global));
  object->text = global;
  return Replace(taken, object);
}

/// A dictionary, from nothing or from a list of pairs.
absl::Status PickleReader::CallDict(const PickleValue& arguments, size_t taken) {
  ASSIGN_OR_RETURN(PickleValue * dict, New(Kind::kDict));
  if (!arguments.items.empty() && arguments.items[0]->kind == Kind::kList) {
    for (const PickleValue* pair : arguments.items[0]->items) {
      if (pair->items.size() != 2 || (pair->kind != Kind::kTuple && pair->kind != Kind::kList))
        return Damaged("a dictionary of what are no pairs");
      RETURN_IF_ERROR(CountReferences(2));
      dict->items.insert(dict->items.end(), pair->items.begin(), pair->items.end());
    }
  }
  return Replace(taken, dict);
}

absl::Status PickleReader::RebuildTensor(const PickleValue& arguments, size_t taken) {
  const auto& items = arguments.items;
  if (items.size() < 4 || items[0]->kind != Kind::kStorage || items[1]->kind != Kind::kInt ||
      items[1]->integer < 0 || items[2]->kind != Kind::kTuple || items[3]->kind != Kind::kTuple ||
      items[2]->items.size() != items[3]->items.size() || items[2]->items.size() > kMaxRank) {
    return Damaged("a tensor that does not say storage, offset, size and stride");
  }
  ASSIGN_OR_RETURN(PickleValue * tensor, New(Kind::kTensor));
  // Shapes may be recalled from the memo, a few bytes each: what they become is counted.
  RETURN_IF_ERROR(CountReferences(2 * items[2]->items.size()));
  tensor->shape.reserve(items[2]->items.size());
  tensor->stride.reserve(items[2]->items.size());
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
  const PickleValue& storage = *items[0];
  RETURN_IF_ERROR(CountText(storage.text));
  tensor->type = storage.type;
  // Version 3 names a type, one that no storage class has: none of TensorType.
  const bool named = items.size() > 6 && items[6]->kind == Kind::kGlobal;
  tensor->has_type = storage.has_type && !named;
  tensor->text = storage.text;
  tensor->integer = storage.integer;
  if (__builtin_add_overflow(storage.offset, items[1]->integer, &tensor->offset))
    return Damaged("a tensor that begins nowhere");
  return Replace(taken, tensor);
}

absl::Status PickleReader::Build() {
  RETURN_IF_ERROR(Need(2));
  PickleValue* object = stack_[stack_.size() - 2];
  PickleValue* state = stack_.back();
  // Attributes of dictionaries, tensors and parameters are of no use here.
  if (object->kind != Kind::kObject && object->kind != Kind::kDict &&
      object->kind != Kind::kTensor && object->kind != Kind::kList) {
    return Damaged("BUILD of what is no object");
  }
  if (object->kind == Kind::kObject) object->items.assign(1, state);
  stack_.pop_back();
  return absl::OkStatus();
}

}  // namespace neolog
