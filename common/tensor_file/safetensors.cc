#include "common/tensor_file/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/tensor_file/mapping.h"

namespace neolog {
namespace {

constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the reference implementation's own cap
constexpr size_t kMaxStringBytes =
    16 << 20;  // trainers put tag statistics of a few MB into the metadata
constexpr size_t kMaxNumberBytes = 32;
constexpr size_t kMaxEntries =
    200'000;  // tensors, and metadata entries; the largest models have ~10,000
constexpr size_t kMaxRank = 16;
constexpr int kMaxDepth = 3;  // header object, entry object, list
constexpr std::string_view kMetadata = "__metadata__";

struct TypeRow {
  TensorType type;
  std::string_view name;
  size_t size;
};
constexpr std::array<TypeRow, 10> kTypes = {{{TensorType::kBool, "BOOL", 1},
                                             {TensorType::kUint8, "U8", 1},
                                             {TensorType::kInt8, "I8", 1},
                                             {TensorType::kInt16, "I16", 2},
                                             {TensorType::kInt32, "I32", 4},
                                             {TensorType::kInt64, "I64", 8},
                                             {TensorType::kFloat16, "F16", 2},
                                             {TensorType::kBFloat16, "BF16", 2},
                                             {TensorType::kFloat32, "F32", 4},
                                             {TensorType::kFloat64, "F64", 8}}};

const TypeRow& RowOf(TensorType type) {
  return *std::find_if(kTypes.begin(), kTypes.end(),
                       [&](const TypeRow& r) { return r.type == type; });
}

/// Bytes of a tensor, or nothing when the product does not fit.
std::optional<uint64_t> ByteSize(TensorType type, const std::vector<int64_t>& shape) {
  uint64_t size = SizeOf(type);
  for (int64_t dimension : shape) {
    if (dimension < 0 || __builtin_mul_overflow(size, static_cast<uint64_t>(dimension), &size))
      return std::nullopt;
  }
  return size;
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

/// A name from a file, safe to print: cut, and without control characters.
std::string Printable(std::string_view name) {
  std::string text;
  for (char c : name.substr(0, 100))
    text.push_back(static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c);
  if (name.size() > 100) text += "...";
  return text;
}

/// Bounds what the JSON parser may be made to hold: nesting, string and number lengths. Returns the
/// offset of the first byte over a limit and what it is over.
std::optional<std::pair<size_t, std::string>> OverLimit(std::string_view json) {
  int depth = 0;
  size_t token = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (i - token > kMaxStringBytes)
        return {{token, fmt::format("a string longer than {} bytes", kMaxStringBytes)}};
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
        token = i + 1;
      }
      continue;
    }
    if (c == '"') {
      in_string = true;
      token = i;
    } else if (c == '{' || c == '[') {
      if (++depth > kMaxDepth)
        return {{i, fmt::format("nesting deeper than {} levels", kMaxDepth)}};
      token = i + 1;
    } else if (c == '}' || c == ']') {
      --depth;
      token = i + 1;
    } else if (c == ',' || c == ':' || c == ' ' || c == '\n' || c == '\r' || c == '\t') {
      token = i + 1;
    } else if (i - token >= kMaxNumberBytes) {
      return {{token, fmt::format("a number longer than {} digits", kMaxNumberBytes)}};
    }
  }
  return std::nullopt;
}

/// Reads characters for the JSON parser and counts them, so that events know where they are.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;
  CountingIterator(const char* at, size_t* count) : at_(at), count_(count) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    ++at_;
    ++*count_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator old = *this;
    ++*this;
    return old;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  size_t* count_;
};

/// One tensor of the header, before its data is looked at.
struct Entry {
  size_t offset = 0;  // of its key, in the file
  std::optional<TensorType> type;
  std::optional<std::vector<int64_t>> shape;
  std::optional<std::vector<uint64_t>> range;
};

/// Takes the header's JSON events. `error` says what is wrong and where, with the offset counted
/// from the file's start.
class HeaderHandler : public nlohmann::json_sax<nlohmann::json> {
 public:
  HeaderHandler(std::string_view json, const size_t* count, size_t base)
      : json_(json), count_(count), base_(base) {}

  std::map<std::string, Entry> entries;
  std::map<std::string, std::string> metadata;
  std::string error;

  bool null() override { return Value("null"); }
  bool boolean(bool) override { return Value("a boolean"); }
  bool number_integer(number_integer_t) override { return Value("a negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    return Value("a number that is not an integer of 64 bits");
  }
  bool binary(binary_t&) override { return Value("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (where_ == Where::kShape) {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return Fail("a dimension does not fit 63 bits");
      }
      if (entry_->shape->size() == kMaxRank)
        return Fail(fmt::format("more than {} dimensions", kMaxRank));
      entry_->shape->push_back(static_cast<int64_t>(value));
      return true;
    }
    if (where_ == Where::kRange) {
      if (entry_->range->size() == 2) return Fail("'data_offsets' has more than two numbers");
      entry_->range->push_back(value);
      return true;
    }
    return Value("a number");
  }

  bool string(string_t& value) override {
    if (where_ == Where::kMetadata) {
      metadata[key_] = value;
      return true;
    }
    if (where_ == Where::kEntry && key_ == "dtype") {
      for (const TypeRow& row : kTypes) {
        if (row.name == value) {
          entry_->type = row.type;
          return true;
        }
      }
      return Fail(fmt::format(
          "unknown dtype '{}': expected BOOL, U8, I8, I16, I32, I64, F16, BF16, F32 or F64",
          Printable(value)));
    }
    return Value("a string");
  }

  bool start_object(std::size_t) override {
    if (where_ == Where::kStart) {
      where_ = Where::kTop;
    } else if (where_ == Where::kTop) {
      where_ = key_ == kMetadata ? Where::kMetadata : Where::kEntry;
    } else {
      return Value("an object");
    }
    return true;
  }

  bool end_object() override {
    if (where_ == Where::kEntry && !(entry_->type && entry_->shape && entry_->range)) {
      return Fail("'dtype', 'shape' or 'data_offsets' is missing");
    }
    where_ = where_ == Where::kTop ? Where::kEnd : Where::kTop;
    return true;
  }

  bool start_array(std::size_t) override {
    if (where_ == Where::kEntry && key_ == "shape") {
      where_ = Where::kShape;
      entry_->shape.emplace();
    } else if (where_ == Where::kEntry && key_ == "data_offsets") {
      where_ = Where::kRange;
      entry_->range.emplace();
    } else {
      return Value("a list");
    }
    return true;
  }

  bool end_array() override {
    if (where_ == Where::kRange && entry_->range->size() != 2)
      return Fail("'data_offsets' needs two numbers");
    where_ = Where::kEntry;
    return true;
  }

  bool key(string_t& name) override {
    key_ = name;
    if (where_ == Where::kTop) {
      tensor_ = name;
      offset_ = KeyOffset();
      if (name == kMetadata) {
        if (saw_metadata_) return Fail("the key appears twice");
        saw_metadata_ = true;
        return true;
      }
      if (entries.size() == kMaxEntries)
        return Fail(fmt::format("more than {} tensors", kMaxEntries));
      const auto [it, inserted] = entries.try_emplace(name);
      if (!inserted) return Fail("the tensor is named twice");
      entry_ = &it->second;
      entry_->offset = offset_;
      return true;
    }
    offset_ = KeyOffset();
    if (where_ == Where::kMetadata) {
      if (metadata.size() == kMaxEntries)
        return Fail(fmt::format("more than {} metadata entries", kMaxEntries));
      if (!metadata.try_emplace(name).second)
        return Fail(fmt::format("the metadata key '{}' appears twice", Printable(name)));
      return true;
    }
    const bool seen = name == "dtype"          ? entry_->type.has_value()
                      : name == "shape"        ? entry_->shape.has_value()
                      : name == "data_offsets" ? entry_->range.has_value()
                                               : false;
    if (seen) return Fail(fmt::format("the key '{}' appears twice", name));
    if (name != "dtype" && name != "shape" && name != "data_offsets") {
      return Fail(
          fmt::format("unknown key '{}': expected dtype, shape and data_offsets", Printable(name)));
    }
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& e) override {
    if (!error.empty()) return false;
    // The library's text begins with its own error number and position; the reason comes after the
    // last ": ".
    const std::string_view text = e.what();
    const size_t colon = text.find("syntax error");
    error = fmt::format("byte {}: the header is not JSON: {}",
                        base_ + (position > 0 ? position - 1 : 0),
                        Printable(colon == std::string_view::npos ? text : text.substr(colon)));
    return false;
  }

 private:
  enum class Where { kStart, kTop, kMetadata, kEntry, kShape, kRange, kEnd };

  bool Fail(std::string_view what) {
    error = tensor_.empty()
                ? fmt::format("byte {}: {}", offset_, what)
                : fmt::format("byte {}: entry '{}': {}", offset_, Printable(tensor_), what);
    return false;
  }
  bool Value(std::string_view what) {
    if (where_ == Where::kMetadata)
      return Fail(fmt::format("metadata values are strings, found {}", what));
    if (where_ == Where::kShape)
      return Fail(fmt::format("'shape' lists non-negative integers, found {}", what));
    if (where_ == Where::kRange)
      return Fail(fmt::format("'data_offsets' lists two non-negative integers, found {}", what));
    if (where_ == Where::kEntry)
      return Fail(fmt::format("unexpected value of '{}': {}", Printable(key_), what));
    return Fail(fmt::format("expected an object, found {}", what));
  }
  /// File offset of the opening quote of the string that the parser has just read.
  size_t KeyOffset() const {
    size_t i = *count_ - 1;  // its closing quote
    while (i > 0) {
      --i;
      if (json_[i] != '"') continue;
      size_t backslashes = 0;
      while (backslashes < i && json_[i - 1 - backslashes] == '\\') ++backslashes;
      if (backslashes % 2 == 0) break;
    }
    return base_ + i;
  }

  const std::string_view json_;
  const size_t* const count_;
  const size_t base_;
  Where where_ = Where::kStart;
  Entry* entry_ = nullptr;
  bool saw_metadata_ = false;
  std::string tensor_;
  std::string key_;
  size_t offset_ = 0;
};

class SafetensorsFileImpl : public SafetensorsFile {
 public:
  absl::Status Map(const std::string& path) { return mapping_.Map(path); }
  std::string_view mapped() const override { return mapping_.bytes(); }
  absl::Status Load(std::string_view bytes);

  const std::map<std::string, TensorView>& tensors() const override { return tensors_; }
  const std::map<std::string, std::string>& metadata() const override { return metadata_; }

 private:
  Mapping mapping_;
  std::map<std::string, TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
};

absl::Status SafetensorsFileImpl::Load(std::string_view bytes) {
  if (bytes.size() < 8) {
    return DataLoss(
        fmt::format("byte {}: the file ends inside the 8-byte header length", bytes.size()));
  }
  uint64_t header_size = 0;
  for (int i = 7; i >= 0; --i)
    header_size = header_size << 8 | static_cast<unsigned char>(bytes[i]);
  if (header_size > kMaxHeaderBytes) {
    return DataLoss(
        fmt::format("byte 0: the header's length, {} bytes, is over the limit of {}: not a "
                    "safetensors file, or a damaged one",
                    header_size, kMaxHeaderBytes));
  }
  if (header_size > bytes.size() - 8) {
    return DataLoss(
        fmt::format("byte 0: the header's length, {} bytes, goes beyond the file's {} bytes",
                    header_size, bytes.size()));
  }
  const std::string_view json = bytes.substr(8, header_size);
  if (json.empty() || json[0] != '{') return DataLoss("byte 8: the header does not start with '{'");
  if (const size_t nul = json.find('\0');
      nul != json.npos) {  // the JSON parser would take it for the end
    return DataLoss(fmt::format("byte {}: the header has a NUL byte", 8 + nul));
  }
  if (const auto over = OverLimit(json)) {
    return DataLoss(fmt::format("byte {}: the header has {}", 8 + over->first, over->second));
  }

  size_t count = 0;
  HeaderHandler handler(json, &count, 8);
  const bool parsed =
      nlohmann::json::sax_parse(CountingIterator(json.data(), &count),
                                CountingIterator(json.data() + json.size(), &count), &handler);
  if (!parsed) return DataLoss(handler.error);

  const std::string_view data = bytes.substr(8 + header_size);
  std::vector<std::pair<const std::string*, const Entry*>> order;
  order.reserve(handler.entries.size());
  for (const auto& [name, entry] : handler.entries) {
    const uint64_t begin = (*entry.range)[0];
    const uint64_t end = (*entry.range)[1];
    if (end < begin || end > data.size()) {
      return DataLoss(fmt::format(
          "byte {}: entry '{}': data_offsets [{}, {}] are not inside the {} bytes of data",
          entry.offset, Printable(name), begin, end, data.size()));
    }
    const std::optional<uint64_t> size = ByteSize(*entry.type, *entry.shape);
    if (!size || *size != end - begin) {
      return DataLoss(fmt::format("byte {}: entry '{}': {} {} needs {} bytes, data_offsets hold {}",
                                  entry.offset, Printable(name), NameOf(*entry.type),
                                  ShapeText(*entry.shape),
                                  size ? fmt::to_string(*size) : "more than 2^64", end - begin));
    }
    order.emplace_back(&name, &entry);
  }
  std::sort(order.begin(), order.end(),
            [](const auto& a, const auto& b) { return *a.second->range < *b.second->range; });
  uint64_t next = 0;
  for (const auto& [name, entry] : order) {
    const uint64_t begin = (*entry->range)[0];
    if (begin != next) {
      return DataLoss(fmt::format(
          "byte {}: entry '{}' {} the data before it: it starts at data byte {}, expected {}",
          entry->offset, Printable(*name), begin < next ? "overlaps" : "leaves a gap after", begin,
          next));
    }
    next = (*entry->range)[1];
  }
  if (next != data.size()) {
    return DataLoss(fmt::format("byte {}: {} bytes follow the last tensor", 8 + header_size + next,
                                data.size() - next));
  }
  for (const auto& [name, entry] : order) {
    const std::string_view range =
        data.substr((*entry->range)[0], (*entry->range)[1] - (*entry->range)[0]);
    tensors_.emplace(*name,
                     TensorView{*entry->type, *entry->shape,
                                std::as_bytes(std::span<const char>(range.data(), range.size()))});
  }
  metadata_ = std::move(handler.metadata);
  return absl::OkStatus();
}

}  // namespace

size_t SizeOf(TensorType type) { return RowOf(type).size; }
std::string_view NameOf(TensorType type) { return RowOf(type).name; }

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path) {
  auto file = std::make_unique<SafetensorsFileImpl>();
  RETURN_IF_ERROR(file->Map(path));
  RETURN_IF_ERROR_WITH(file->Load(file->mapped()), fmt::format("reading '{}'", path));
  return file;
}

absl::StatusOr<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Parse(std::string_view bytes,
                                                                        std::string_view name) {
  auto file = std::make_unique<SafetensorsFileImpl>();
  RETURN_IF_ERROR_WITH(file->Load(bytes), fmt::format("reading '{}'", name));
  return file;
}

absl::StatusOr<std::string> SerializeSafetensors(
    const std::map<std::string, TensorView>& tensors,
    const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[std::string(kMetadata)] = metadata;
  uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    if (name == kMetadata)
      return InvalidArgument(fmt::format("a tensor cannot be named '{}'", kMetadata));
    const std::optional<uint64_t> size = ByteSize(tensor.type, tensor.shape);
    if (!size || *size != tensor.data.size()) {
      return InvalidArgument(fmt::format("tensor '{}': {} {} does not fit its {} bytes",
                                         Printable(name), NameOf(tensor.type),
                                         ShapeText(tensor.shape), tensor.data.size()));
    }
    header[name] = {{"dtype", NameOf(tensor.type)},
                    {"shape", tensor.shape},
                    {"data_offsets", {offset, offset + *size}}};
    offset += *size;
  }
  std::string json;
  try {
    json = header.dump();
  } catch (const nlohmann::json::exception&) {  // its only reason here
    return InvalidArgument("a tensor name or metadata entry is not UTF-8");
  }
  json.resize((json.size() + 7) / 8 * 8, ' ');
  if (json.size() > kMaxHeaderBytes) {
    return InvalidArgument(fmt::format("the header would have {} bytes, over the limit of {}",
                                       json.size(), kMaxHeaderBytes));
  }
  std::string bytes;
  bytes.reserve(8 + json.size() + offset);
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(json.size() >> (8 * i) & 0xff));
  bytes += json;
  for (const auto& [name, tensor] : tensors) {
    bytes.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size());
  }
  return bytes;
}

}  // namespace neolog
