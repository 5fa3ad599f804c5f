#include "common/embedding/torch_embedding.h"

#include <fmt/format.h>

#include <bit>

#include "common/embedding/keys.h"
#include "common/embedding/pickle_writer.h"
#include "common/embedding/tensor_dict.h"
#include "common/tensor_file/torch_file.h"
#include "common/tensor_file/zip.h"

namespace neolog {
namespace {

static_assert(std::endian::native == std::endian::little,
              "storages are written as they lie in memory");

/// A tensor [rows, width] that is the whole of the storage `index`.
void WriteTensor(int64_t rows, int64_t width, size_t index, PickleWriter* pickle) {
  pickle->Global("torch._utils", "_rebuild_tensor_v2");
  pickle->Raw("((");
  pickle->Text("storage");
  pickle->Global("torch", "FloatStorage");
  pickle->Text(std::to_string(index));
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

using Kind = PickleValue::Kind;

/// The tensors of a dictionary, or of a pickled ParameterDict, whose entries stand among its
/// state's items or under `_parameters`, depending on the torch that wrote it. InvalidArgument when
/// another value stands among the tensors of a plain dictionary.
absl::StatusOr<std::vector<NamedTensor>> TensorsOf(const TorchFile& file,
                                                   const PickleValue& container,
                                                   std::string_view what) {
  const PickleValue* dict = &container;
  if (container.kind == Kind::kObject && container.items.size() == 1) {
    dict = container.items[0];
    const PickleValue* parameters = FindInDict(*dict, "_parameters");
    if (parameters != nullptr && !parameters->items.empty()) dict = parameters;
  }
  if (dict->kind != Kind::kDict)
    return InvalidArgument(
        fmt::format("{} is no dictionary: expected the word's vectors in it", what));
  std::vector<NamedTensor> tensors;
  std::vector<std::string> others;
  for (size_t i = 0; i + 1 < dict->items.size(); i += 2) {
    const PickleValue& key = *dict->items[i];
    const PickleValue& value = *dict->items[i + 1];
    if (key.kind == Kind::kString && value.kind == Kind::kTensor) {
      tensors.push_back(
          {key.text, value.shape, [&file, value = &value] { return file.Floats(*value); }});
    } else if (value.kind == Kind::kTensor || dict == &container) {
      others.push_back(key.kind == Kind::kString ? key.text : "a key that is no text");
    }
  }
  if (others.empty()) return tensors;
  for (const NamedTensor& tensor : tensors) others.push_back(tensor.key);
  if (const std::string misfit = KnownMisfit(others); !misfit.empty())
    return InvalidArgument(misfit);
  return InvalidArgument(
      fmt::format("{} has {} entries, not all of them tensors with a name ('{}' is none): expected "
                  "one, the vectors of one word",
                  what, dict->items.size() / 2, Shown(others[0])));
}

std::optional<std::string> TextOf(const PickleValue& dict, std::string_view key) {
  const PickleValue* value = FindInDict(dict, key);
  if (value == nullptr || value->kind != PickleValue::Kind::kString) return std::nullopt;
  return value->text;
}

/// The whole file: the pickle and a storage for each block.
std::string Archive(std::string pickle, const Embedding& embedding) {
  StoredZipWriter zip;
  zip.Add("archive/data.pkl", pickle);
  for (size_t i = 0; i < embedding.blocks.size(); ++i) {
    const std::vector<float>& values = embedding.blocks[i].values;
    zip.Add(fmt::format("archive/data/{}", i),
            {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  }
  zip.Add("archive/version", "3\n");
  return zip.Finish();
}

/// A1111's and the original trainer's dictionary.
absl::StatusOr<Embedding> ReadDictionary(const TorchFile& file, const PickleValue& param) {
  const PickleValue& root = file.root();
  ASSIGN_OR_RETURN(const std::vector<NamedTensor> tensors,
                   TensorsOf(file, param, "string_to_param"));
  if (tensors.size() != 1) {
    return InvalidArgument(fmt::format(
        "string_to_param has {} entries, one for each of several words: expected one word",
        tensors.size()));
  }
  const PickleValue* name = FindInDict(root, "name");
  Embedding embedding;
  embedding.format = name != nullptr ? EmbeddingFormat::kA1111 : EmbeddingFormat::kOriginal;
  embedding.name = TextOf(root, "name").value_or(KeyIsWord(tensors[0].key) ? tensors[0].key : "");
  embedding.name_stored = !embedding.name.empty();
  const PickleValue* step = FindInDict(root, "step");
  if (step != nullptr && step->kind == Kind::kInt) embedding.step = step->integer;
  embedding.checkpoint_hash = TextOf(root, "sd_checkpoint");
  embedding.checkpoint_name = TextOf(root, "sd_checkpoint_name");
  ASSIGN_OR_RETURN(EmbeddingBlock block, BlockOfTensor(tensors[0], &embedding.vectors));
  embedding.blocks.push_back(std::move(block));
  return embedding;
}

}  // namespace

std::string WriteA1111(const Embedding& embedding) {
  PickleWriter pickle;
  pickle.EmptyDict();
  pickle.Raw("(");
  pickle.Text("string_to_token");
  pickle.EmptyDict();
  pickle.Text(kA1111Slot);
  pickle.Integer(kA1111SlotToken);
  pickle.Raw("s");
  pickle.Text("string_to_param");
  pickle.EmptyDict();
  pickle.Text(kA1111Slot);
  WriteTensor(embedding.vectors, embedding.blocks[0].width, 0, &pickle);
  pickle.Raw("s");
  pickle.Text("name");
  pickle.Text(embedding.name);
  pickle.Text("step");
  pickle.Integer(embedding.step.value_or(0));
  pickle.Text("sd_checkpoint");
  pickle.OptionalText(embedding.checkpoint_hash);
  pickle.Text("sd_checkpoint_name");
  pickle.OptionalText(embedding.checkpoint_name);
  pickle.Raw("u");
  return Archive(pickle.Finish(), embedding);
}

std::string WriteTorchDict(const Embedding& embedding, const std::vector<std::string>& keys) {
  PickleWriter pickle;
  pickle.EmptyDict();
  pickle.Raw("(");
  for (size_t i = 0; i < keys.size(); ++i) {
    pickle.Text(keys[i]);
    WriteTensor(embedding.vectors, embedding.blocks[i].width, i, &pickle);
  }
  pickle.Raw("u");
  return Archive(pickle.Finish(), embedding);
}

absl::StatusOr<Embedding> ReadTorchEmbedding(std::string_view bytes) {
  ASSIGN_OR_RETURN(const auto file, TorchFile::Parse(bytes));
  const PickleValue& root = file->root();
  if (root.kind == Kind::kTensor) {
    Embedding embedding;
    embedding.name_stored = false;
    const NamedTensor tensor{"", root.shape, [&] { return file->Floats(root); }};
    ASSIGN_OR_RETURN(EmbeddingBlock block, BlockOfTensor(tensor, &embedding.vectors));
    embedding.blocks.push_back(std::move(block));
    return embedding;
  }
  if (root.kind != Kind::kDict)
    return InvalidArgument("it holds neither a dictionary nor a tensor: expected an embedding");
  if (const PickleValue* param = FindInDict(root, "string_to_param"); param != nullptr)
    return ReadDictionary(*file, *param);
  ASSIGN_OR_RETURN(const std::vector<NamedTensor> tensors, TensorsOf(*file, root, "the file"));
  return EmbeddingOfTensors(tensors);
}

}  // namespace neolog
