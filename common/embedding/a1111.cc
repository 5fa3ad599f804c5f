#include "common/embedding/a1111.h"

#include <fmt/format.h>

#include <bit>
#include <limits>

#include "common/tensor_file/torch_file.h"
#include "common/tensor_file/zip.h"

namespace neolog {
namespace {

static_assert(std::endian::native == std::endian::little,
              "storages are written as they lie in memory");

constexpr std::string_view kSlot = "*";  // the one entry that A1111 gives its dictionaries
constexpr int64_t kSlotToken = 265;      // CLIP's id of "*"; readers ignore it

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

void WriteTensor(int64_t rows, int64_t width, PickleWriter* pickle) {
  pickle->Global("torch._utils", "_rebuild_tensor_v2");
  pickle->Raw("((");
  pickle->Text("storage");
  pickle->Global("torch", "FloatStorage");
  pickle->Text("0");
  pickle->Text("cpu");
  pickle->Integer(rows * width);
  pickle->Raw("t");
  pickle->Memo();
  pickle->Raw("Q");
  pickle->Integer(0);  // offset
  pickle->Integer(rows);
  pickle->Integer(width);
  pickle->Raw("\x86");
  pickle->Memo();
  pickle->Integer(width);
  pickle->Integer(1);
  pickle->Raw("\x86");
  pickle->Memo();
  pickle->Raw("\x89");  // requires_grad
  pickle->Global("collections", "OrderedDict");
  pickle->Raw(")R");
  pickle->Memo();
  pickle->Raw("t");
  pickle->Memo();
  pickle->Raw("R");
  pickle->Memo();
}

/// The single text key with a tensor of a dictionary, or of a pickled ParameterDict, whose entries
/// stand among its state's items or under `_parameters`, depending on the torch that wrote it.
absl::StatusOr<const PickleValue*> SingleTensor(const PickleValue& container, std::string_view what,
                                                std::string* key) {
  const PickleValue* dict = &container;
  if (container.kind == PickleValue::Kind::kObject && container.items.size() == 1) {
    dict = container.items[0];
    const PickleValue* parameters = FindInDict(*dict, "_parameters");
    if (parameters != nullptr && !parameters->items.empty()) dict = parameters;
  }
  if (dict->kind != PickleValue::Kind::kDict)
    return InvalidArgument(
        fmt::format("{} is no dictionary: expected the word's vectors in it", what));
  const PickleValue* tensor = nullptr;
  size_t others = 0;
  for (size_t i = 0; i + 1 < dict->items.size(); i += 2) {
    if (dict->items[i]->kind == PickleValue::Kind::kString &&
        dict->items[i + 1]->kind == PickleValue::Kind::kTensor && tensor == nullptr) {
      tensor = dict->items[i + 1];
      *key = dict->items[i]->text;
    } else if (dict->items[i + 1]->kind == PickleValue::Kind::kTensor || dict == &container) {
      ++others;
    }
  }
  if (tensor == nullptr || others != 0) {
    return InvalidArgument(fmt::format("{} has {} entries: expected one, the vectors of one word",
                                       what, dict->items.size() / 2));
  }
  return tensor;
}

std::optional<std::string> TextOf(const PickleValue& dict, std::string_view key) {
  const PickleValue* value = FindInDict(dict, key);
  if (value == nullptr || value->kind != PickleValue::Kind::kString) return std::nullopt;
  return value->text;
}

}  // namespace

absl::StatusOr<std::string> WriteA1111(const Embedding& embedding) {
  PickleWriter pickle;
  pickle.EmptyDict();
  pickle.Raw("(");
  pickle.Text("string_to_token");
  pickle.EmptyDict();
  pickle.Text(kSlot);
  pickle.Integer(kSlotToken);
  pickle.Raw("s");
  pickle.Text("string_to_param");
  pickle.EmptyDict();
  pickle.Text(kSlot);
  WriteTensor(embedding.vectors, embedding.width, &pickle);
  pickle.Raw("s");
  pickle.Text("name");
  pickle.Text(embedding.name);
  pickle.Text("step");
  pickle.Integer(embedding.step);
  pickle.Text("sd_checkpoint");
  pickle.OptionalText(embedding.checkpoint_hash);
  pickle.Text("sd_checkpoint_name");
  pickle.OptionalText(embedding.checkpoint_name);
  pickle.Raw("u");

  StoredZipWriter zip;
  zip.Add("archive/data.pkl", pickle.Finish());
  zip.Add("archive/data/0", {reinterpret_cast<const char*>(embedding.values.data()),
                             embedding.values.size() * sizeof(float)});
  zip.Add("archive/version", "3\n");
  return zip.Finish();
}

absl::StatusOr<Embedding> ReadTorchEmbedding(std::string_view bytes) {
  ASSIGN_OR_RETURN(const auto file, TorchFile::Parse(bytes));
  const PickleValue& root = file->root();
  if (root.kind != PickleValue::Kind::kDict)
    return InvalidArgument("it holds no dictionary: expected an embedding");
  Embedding embedding;
  const PickleValue* tensor = nullptr;
  std::string key;
  if (const PickleValue* param = FindInDict(root, "string_to_param"); param != nullptr) {
    ASSIGN_OR_RETURN(tensor, SingleTensor(*param, "string_to_param", &key));
    embedding.name = TextOf(root, "name").value_or(key == kSlot ? "" : key);
    const PickleValue* step = FindInDict(root, "step");
    if (step != nullptr && step->kind == PickleValue::Kind::kInt) embedding.step = step->integer;
    embedding.checkpoint_hash = TextOf(root, "sd_checkpoint");
    embedding.checkpoint_name = TextOf(root, "sd_checkpoint_name");
  } else {
    ASSIGN_OR_RETURN(tensor, SingleTensor(root, "the file", &key));
    embedding.name = key == "emb_params" ? "" : key;
  }
  if (tensor->shape.empty() || tensor->shape.size() > 2) {
    return InvalidArgument(fmt::format("its tensor has {} dimensions: expected [vectors, width]",
                                       tensor->shape.size()));
  }
  embedding.vectors = tensor->shape.size() == 2 ? tensor->shape[0] : 1;
  embedding.width = tensor->shape.back();
  ASSIGN_OR_RETURN(embedding.values, file->Floats(*tensor));
  return embedding;
}

}  // namespace neolog
