#include "common/embedding/carrier.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>

#include "common/embedding/base64.h"
#include "common/embedding/keys.h"
#include "common/image/png.h"

namespace neolog {
namespace {

using Json = nlohmann::ordered_json;

constexpr char kKeyword[] = "sd-ti-embedding";
constexpr char kTensor[] = "TORCHTENSOR";
constexpr size_t kMaxText = (16 << 20) - 100;  // what ReadPngText takes, less the keyword
constexpr size_t kMaxJson = kMaxText / 4 * 3;
constexpr int kMaxDepth = 16;
constexpr int64_t kMaxPixels = 16'000'000;
constexpr int kMinRows = 16;  // less, and a column of the blocks could be black by chance
// The high halves of the blocks' bytes are decoration and must not be 0: the web UI cuts black
// edges off.
constexpr uint8_t kDecoration = 0x60;
constexpr int kCardSide = 256;

/// The sequence that the pixels' low halves are XORed with.
class Whitening {
 public:
  uint8_t Next() {
    state_ = state_ * 1664525u + 1013904223u;
    return static_cast<uint8_t>(state_ % 255 & 15);
  }

 private:
  uint32_t state_ = 0;
};

std::string ToJson(const Embedding& embedding) {
  const EmbeddingBlock& block = embedding.blocks[0];
  Json rows = Json::array();
  for (int64_t row = 0; row < embedding.vectors; ++row) {
    Json values = Json::array();
    for (int64_t i = 0; i < block.width; ++i) {
      // As double: the digits that give the float back through Python's float, too.
      values.push_back(
          static_cast<double>(block.values[static_cast<size_t>(row * block.width + i)]));
    }
    rows.push_back(std::move(values));
  }
  const std::string slot(kA1111Slot);
  const auto optional = [](const std::optional<std::string>& text) {
    return text ? Json(*text) : Json(nullptr);
  };
  const Json json = {{"string_to_token", {{slot, kA1111SlotToken}}},
                     {"string_to_param", {{slot, {{kTensor, std::move(rows)}}}}},
                     {"name", embedding.name},
                     {"step", embedding.step.value_or(0)},
                     {"sd_checkpoint", optional(embedding.checkpoint_hash)},
                     {"sd_checkpoint_name", optional(embedding.checkpoint_name)}};
  return json.dump();
}

/// Brackets within brackets, outside of texts.
int DepthOf(std::string_view json) {
  int depth = 0, deepest = 0;
  bool in_text = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_text) {
      if (c == '\\') ++i;
      if (c == '"') in_text = false;
    } else if (c == '"') {
      in_text = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

/// Python writes numbers that are not finite as NaN, Infinity and -Infinity, which JSON has not:
/// null in their place, outside of texts.
std::string WithNulls(std::string_view json) {
  std::string out;
  bool in_text = false;
  for (size_t i = 0; i < json.size();) {
    size_t skipped = 0;
    if (!in_text) {
      for (const std::string_view word : {"NaN", "Infinity", "-Infinity"}) {
        if (json.substr(i).starts_with(word)) skipped = word.size();
      }
    }
    if (skipped > 0) {
      out += "null";
      i += skipped;
      continue;
    }
    if (in_text && json[i] == '\\' && i + 1 < json.size())
      out += json[i++];
    else if (json[i] == '"')
      in_text = !in_text;
    out += json[i++];
  }
  return out;
}

absl::Status AddNumber(const Json& value, std::vector<float>* values) {
  if (value.is_null()) {
    values->push_back(std::numeric_limits<float>::quiet_NaN());
  } else if (value.is_number()) {
    values->push_back(static_cast<float>(value.get<double>()));
  } else {
    return InvalidArgument("its tensor holds something that is no number");
  }
  return absl::OkStatus();
}

/// Nested lists, [N, D] or [D].
absl::Status ReadTensor(const Json& lists, Embedding* embedding) {
  EmbeddingBlock block;
  if (!lists.is_array() || lists.empty())
    return InvalidArgument("its tensor is no list of vectors, or an empty one");
  if (!lists[0].is_array()) {
    for (const Json& value : lists) RETURN_IF_ERROR(AddNumber(value, &block.values));
    embedding->vectors = 1;
  } else {
    for (const Json& row : lists) {
      if (!row.is_array() || row.size() != lists[0].size())
        return InvalidArgument("its vectors have different widths");
      for (const Json& value : row) {
        if (value.is_array())
          return InvalidArgument(
              "its tensor has more than two dimensions: expected [vectors, width]");
        RETURN_IF_ERROR(AddNumber(value, &block.values));
      }
    }
    embedding->vectors = static_cast<int64_t>(lists.size());
  }
  block.width = static_cast<int64_t>(block.values.size()) / embedding->vectors;
  embedding->blocks.push_back(std::move(block));
  return absl::OkStatus();
}

std::optional<std::string> TextOf(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_string()) return std::nullopt;
  return found->get<std::string>();
}

absl::StatusOr<Embedding> FromJson(std::string_view text) {
  if (DepthOf(text) > kMaxDepth) return InvalidArgument("its JSON is nested too deeply");
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) json = Json::parse(WithNulls(text), nullptr, false);
  if (json.is_discarded()) return DataLoss("the embedding in it is no JSON; the file is damaged");
  const auto param = json.is_object() ? json.find("string_to_param") : json.end();
  if (!json.is_object() || param == json.end() || !param->is_object())
    return InvalidArgument("the JSON in it is no embedding: it has no string_to_param");
  if (param->size() != 1) {
    return InvalidArgument(fmt::format(
        "string_to_param has {} entries, one for each of several words: expected one word",
        param->size()));
  }
  const std::string key = param->begin().key();
  const Json& tensor = param->begin().value();
  if (!tensor.is_object() || !tensor.contains(kTensor))
    return InvalidArgument(fmt::format("the JSON in it has no {} in string_to_param", kTensor));
  Embedding embedding;
  embedding.format = EmbeddingFormat::kPng;
  embedding.name = TextOf(json, "name").value_or(KeyIsWord(key) ? key : "");
  embedding.name_stored = !embedding.name.empty();
  const auto step = json.find("step");
  if (step != json.end() && step->is_number_integer()) embedding.step = step->get<int64_t>();
  embedding.checkpoint_hash = TextOf(json, "sd_checkpoint");
  embedding.checkpoint_name = TextOf(json, "sd_checkpoint_name");
  RETURN_IF_ERROR(ReadTensor(tensor[kTensor], &embedding));
  return embedding;
}

std::string Deflate(std::string_view text) {
  uLongf size = compressBound(text.size());
  std::string packed(size, '\0');
  compress2(reinterpret_cast<Bytef*>(packed.data()), &size,
            reinterpret_cast<const Bytef*>(text.data()), text.size(), Z_BEST_COMPRESSION);
  packed.resize(size);
  return packed;
}

/// What is packed at the beginning of `bytes`; what follows does not matter. Nothing when it is not
/// packed or too large.
std::optional<std::string> InflatePrefix(std::string_view bytes) {
  z_stream stream;
  std::memset(&stream, 0, sizeof(stream));
  if (inflateInit(&stream) != Z_OK) return std::nullopt;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  std::string text;
  int code = Z_OK;
  while (code == Z_OK && text.size() <= kMaxJson) {
    char buffer[16384];
    stream.next_out = reinterpret_cast<Bytef*>(buffer);
    stream.avail_out = sizeof(buffer);
    code = inflate(&stream, Z_NO_FLUSH);
    text.append(buffer, sizeof(buffer) - stream.avail_out);
  }
  inflateEnd(&stream);
  if (code != Z_STREAM_END || text.size() > kMaxJson) return std::nullopt;
  return text;
}

/// Columns of one of the blocks that carry `count` halves of bytes in `rows` rows.
int BlockColumns(size_t count, int rows) {
  const auto height = static_cast<size_t>(rows);
  size_t padded = count + (height - count % height);
  padded += 3 * height - padded % (3 * height);
  return static_cast<int>(padded / (3 * height));
}

/// Writes one half of every byte into the columns from `left` on; the data repeats to the end.
void PutBlock(std::string_view packed, int shift, int left, int columns, Image* image) {
  Whitening whitening;
  size_t next = 0;
  for (int y = 0; y < image->height; ++y) {
    for (int i = 0; i < columns * 3; ++i) {
      const auto half = static_cast<uint8_t>(static_cast<uint8_t>(packed[next]) >> shift & 15);
      next = (next + 1) % packed.size();
      image->rgb[(static_cast<size_t>(y) * image->width + left) * 3 + i] =
          static_cast<char>(kDecoration | (half ^ whitening.Next()));
    }
  }
}

Image Card() {
  Image card{kCardSide, kCardSide, std::string(size_t{3} * kCardSide * kCardSide, '\xd8')};
  for (int y = 0; y < kCardSide; ++y) {
    for (int x = 0; x < kCardSide; ++x) {
      const int edge = std::min({x, y, kCardSide - 1 - x, kCardSide - 1 - y});
      if (edge < 8) std::memset(&card.rgb[(size_t{kCardSide} * y + x) * 3], 0x58, 3);
    }
  }
  return card;
}

bool IsBlackColumn(const Image& image, int x) {
  for (int y = 0; y < image.height; ++y) {
    const char* pixel = &image.rgb[(static_cast<size_t>(y) * image.width + x) * 3];
    if (((pixel[0] | pixel[1] | pixel[2]) & 15) != 0) return false;
  }
  return true;
}

/// The picture without its black border, as programs for pictures leave one: rows and columns at
/// the edges without a pixel that has red, green and blue.
Image WithoutBorder(const Image& image) {
  int left = image.width, right = 0, top = image.height, bottom = 0;
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      const char* pixel = &image.rgb[(static_cast<size_t>(y) * image.width + x) * 3];
      if (pixel[0] == 0 || pixel[1] == 0 || pixel[2] == 0) continue;
      left = std::min(left, x);
      right = std::max(right, x + 1);
      top = std::min(top, y);
      bottom = std::max(bottom, y + 1);
    }
  }
  if (left >= right) return image;
  Image inner{right - left, bottom - top, ""};
  for (int y = top; y < bottom; ++y) {
    inner.rgb += image.rgb.substr((static_cast<size_t>(y) * image.width + left) * 3,
                                  static_cast<size_t>(inner.width) * 3);
  }
  return inner;
}

/// The low halves of the columns [left, right), row by row, without the whitening.
std::string TakeBlock(const Image& image, int left, int right) {
  Whitening whitening;
  std::string halves;
  for (int y = 0; y < image.height; ++y) {
    for (int i = left * 3; i < right * 3; ++i) {
      halves += static_cast<char>((image.rgb[static_cast<size_t>(y) * image.width * 3 + i] & 15) ^
                                  whitening.Next());
    }
  }
  return halves;
}

/// The JSON in the pixels, if there is one.
std::optional<std::string> FromPixels(const Image& image) {
  int first = 0, last = image.width - 1;
  while (first < image.width && !IsBlackColumn(image, first)) ++first;
  while (last > first && !IsBlackColumn(image, last)) --last;
  if (first == 0 || last <= first || last == image.width - 1) return std::nullopt;
  const std::string low = TakeBlock(image, 0, first);
  const std::string high = TakeBlock(image, last + 1, image.width);
  std::string packed;
  for (size_t i = 0; i < std::min(low.size(), high.size()); ++i)
    packed += static_cast<char>(low[i] | high[i] << 4);
  return InflatePrefix(packed);
}

}  // namespace

absl::StatusOr<std::string> WriteCarrier(const Embedding& embedding, std::string_view picture) {
  const std::string json = ToJson(embedding);
  if (json.size() > kMaxJson) {
    return InvalidArgument(
        fmt::format("{} vectors of width {} are too much for a picture: use a1111 or diffusers",
                    embedding.vectors, embedding.blocks[0].width));
  }
  Image photo;
  if (picture.empty()) {
    photo = Card();
  } else {
    ASSIGN_OR_RETURN(photo, DecodePng(picture, "picture", kMaxPixels));
  }
  if (photo.height < kMinRows) {
    return InvalidArgument(
        fmt::format("a picture of {} rows cannot carry an embedding: expected "
                    "{} or more",
                    photo.height, kMinRows));
  }
  const std::string packed = Deflate(json);
  const int columns = BlockColumns(packed.size(), photo.height);
  Image canvas;
  canvas.height = photo.height;
  canvas.width = columns + 1 + photo.width + 1 + columns;
  canvas.rgb.assign(size_t{3} * canvas.width * canvas.height, '\0');
  for (int y = 0; y < photo.height; ++y) {
    std::memcpy(&canvas.rgb[(static_cast<size_t>(y) * canvas.width + columns + 1) * 3],
                &photo.rgb[static_cast<size_t>(y) * photo.width * 3], size_t{3} * photo.width);
  }
  PutBlock(packed, 0, 0, columns, &canvas);
  PutBlock(packed, 4, columns + 1 + photo.width + 1, columns, &canvas);
  if (int64_t{canvas.width} * canvas.height > kMaxPixels || FromPixels(canvas) != json) {
    return InvalidArgument(
        fmt::format("a picture of {} x {} cannot carry {} vectors of width {}: use another picture",
                    photo.width, photo.height, embedding.vectors, embedding.blocks[0].width));
  }
  return EncodePng(canvas, {{kKeyword, EncodeBase64(json)}});
}

absl::StatusOr<Embedding> ReadCarrier(std::string_view bytes) {
  ASSIGN_OR_RETURN(const PngText texts, ReadPngText(bytes, "picture"));
  for (const auto& [keyword, text] : texts) {
    if (keyword != kKeyword) continue;
    const auto json = DecodeBase64(text);
    if (!json) return DataLoss("the text with the embedding is not base64; the file is damaged");
    return FromJson(*json);
  }
  ASSIGN_OR_RETURN(const Image image, DecodePng(bytes, "picture", kMaxPixels));
  std::optional<std::string> json = FromPixels(image);
  if (!json) json = FromPixels(WithoutBorder(image));
  if (!json) {
    return InvalidArgument(
        "it is just a picture: it has an embedding neither in its text nor in its pixels");
  }
  return FromJson(*json);
}

}  // namespace neolog
