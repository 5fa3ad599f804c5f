#include "common/image/png.h"

#include <png.h>
#include <zlib.h>

#include <cstdint>
#include <cstring>

#include "fmt/format.h"

namespace neolog {
namespace {

using namespace std::string_view_literals;

constexpr std::string_view kSignature = "\x89PNG\r\n\x1a\n"sv;
constexpr size_t kHeaderEnd = 8 + 25;  // signature and IHDR
constexpr size_t kMaxChunks = 1'000;
constexpr size_t kMaxTextBytes = 16 << 20;

void AppendBe32(uint32_t value, std::string* out) {
  for (const int shift : {24, 16, 8, 0}) out->push_back(static_cast<char>(value >> shift & 0xff));
}

uint32_t ReadBe32(std::string_view bytes) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

uint32_t Crc(std::string_view bytes) {
  return static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

void AppendChunk(std::string_view type, std::string_view data, std::string* out) {
  AppendBe32(static_cast<uint32_t>(data.size()), out);
  const size_t start = out->size();
  *out += type;
  *out += data;
  AppendBe32(Crc(std::string_view(*out).substr(start)), out);
}

bool IsAscii(std::string_view text) {
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x7f || (byte < 0x20 && c != '\n')) return false;
  }
  return true;
}

absl::Status CheckKeyword(std::string_view keyword) {
  if (keyword.empty() || keyword.size() > 79 || !IsAscii(keyword) ||
      keyword.find('\n') != std::string_view::npos || keyword.front() == ' ' ||
      keyword.back() == ' ') {
    return InvalidArgument(fmt::format(
        "'{}' cannot be a PNG keyword: 1 to 79 ASCII characters, no spaces at the ends", keyword));
  }
  return absl::OkStatus();
}

std::string Latin1ToUtf8(std::string_view text) {
  std::string utf8;
  utf8.reserve(text.size());
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x80) {
      utf8 += c;
    } else {
      utf8 += static_cast<char>(0xc0 | byte >> 6);
      utf8 += static_cast<char>(0x80 | (byte & 0x3f));
    }
  }
  return utf8;
}

/// What is before the next zero byte, which is taken off as well.
bool ConsumeString(std::string_view* data, std::string_view* text) {
  const size_t zero = data->find('\0');
  if (zero == std::string_view::npos) return false;
  *text = data->substr(0, zero);
  data->remove_prefix(zero + 1);
  return true;
}

/// Inflates at most `limit` bytes; false when it is damaged or more.
bool Inflate(std::string_view packed, size_t limit, std::string* text) {
  z_stream stream;
  std::memset(&stream, 0, sizeof(stream));
  if (inflateInit(&stream) != Z_OK) return false;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  int code = Z_OK;
  while (code == Z_OK && text->size() <= limit) {
    char buffer[4096];
    stream.next_out = reinterpret_cast<Bytef*>(buffer);
    stream.avail_out = sizeof(buffer);
    code = inflate(&stream, Z_NO_FLUSH);
    text->append(buffer, sizeof(buffer) - stream.avail_out);
  }
  inflateEnd(&stream);
  return code == Z_STREAM_END && text->size() <= limit;
}

/// Keyword and text of a text chunk; false when it is malformed or unpacks to more than `limit`
/// bytes.
bool ParseText(std::string_view type, std::string_view data, size_t limit,
               std::pair<std::string, std::string>* entry) {
  std::string_view keyword;
  if (!ConsumeString(&data, &keyword)) return false;
  entry->first = Latin1ToUtf8(keyword);
  if (type == "tEXt") {
    entry->second = Latin1ToUtf8(data);
    return true;
  }
  if (type == "zTXt") {
    std::string latin1;
    if (data.empty() || data[0] != 0 || !Inflate(data.substr(1), limit, &latin1)) return false;
    entry->second = Latin1ToUtf8(latin1);
    return true;
  }
  if (data.size() < 2 || (data[0] != 0 && data[0] != 1) || data[1] != 0) return false;
  const bool packed = data[0] == 1;
  data.remove_prefix(2);
  std::string_view language, translated;
  if (!ConsumeString(&data, &language) || !ConsumeString(&data, &translated)) return false;
  if (packed) return Inflate(data, limit, &entry->second);
  entry->second = std::string(data);
  return true;
}

/// The bytes that libpng reads from, and where it writes what is wrong.
struct Source {
  std::string_view bytes;
  std::string error;
};

/// Everything libpng does may end in a jump back to setjmp: only plain values live in the functions
/// that it jumps over.
struct Reader {
  png_structp png = nullptr;
  png_infop info = nullptr;
  ~Reader() { png_destroy_read_struct(&png, &info, nullptr); }
};

void OnError(png_structp png, png_const_charp message) {
  static_cast<Source*>(png_get_error_ptr(png))->error = message;
  png_longjmp(png, 1);
}

void OnWarning(png_structp, png_const_charp) {}

void OnRead(png_structp png, png_bytep to, size_t size) {
  auto* source = static_cast<Source*>(png_get_io_ptr(png));
  if (source->bytes.size() < size) png_error(png, "the file is cut off");
  std::memcpy(to, source->bytes.data(), size);
  source->bytes.remove_prefix(size);
}

/// Reads the header and asks for red, green and blue; false with source->error on damage.
bool StartReading(const Reader& reader, int64_t max_pixels) {
  if (setjmp(png_jmpbuf(reader.png)) != 0) return false;
  png_read_info(reader.png, reader.info);
  const int64_t width = png_get_image_width(reader.png, reader.info);
  const int64_t height = png_get_image_height(reader.png, reader.info);
  if (width * height > max_pixels) png_error(reader.png, "the picture is too large");
  png_set_scale_16(reader.png);
  png_set_expand(reader.png);
  png_set_gray_to_rgb(reader.png);
  png_set_strip_alpha(reader.png);
  png_set_interlace_handling(reader.png);
  png_read_update_info(reader.png, reader.info);
  return png_get_rowbytes(reader.png, reader.info) == static_cast<size_t>(width) * 3;
}

bool ReadRows(const Reader& reader, png_bytepp rows) {
  if (setjmp(png_jmpbuf(reader.png)) != 0) return false;
  png_read_image(reader.png, rows);
  return true;
}

}  // namespace

absl::StatusOr<std::string> EncodePng(const Image& image, const PngText& text) {
  if (image.width < 1 || image.height < 1 ||
      image.rgb.size() != size_t{3} * image.width * image.height) {
    return InvalidArgument(fmt::format("a picture of {} x {} cannot have {} bytes", image.width,
                                       image.height, image.rgb.size()));
  }
  std::string chunks;
  for (const auto& [keyword, value] : text) {
    RETURN_IF_ERROR(CheckKeyword(keyword));
    if (IsAscii(value)) {
      AppendChunk("tEXt", keyword + '\0' + value, &chunks);
    } else {
      AppendChunk("iTXt", keyword + std::string(5, '\0') + value, &chunks);
    }
  }
  png_image png;
  std::memset(&png, 0, sizeof(png));
  png.version = PNG_IMAGE_VERSION;
  png.width = static_cast<png_uint_32>(image.width);
  png.height = static_cast<png_uint_32>(image.height);
  png.format = PNG_FORMAT_RGB;
  std::string bytes(PNG_IMAGE_PNG_SIZE_MAX(png), '\0');
  png_alloc_size_t size = bytes.size();
  const bool encoded =
      png_image_write_to_memory(&png, bytes.data(), &size, 0, image.rgb.data(), 0, nullptr) != 0;
  const std::string message = png.message;
  png_image_free(&png);
  if (!encoded)
    return Internal(fmt::format("libpng cannot encode a picture of {} x {}: {}", image.width,
                                image.height, message));
  bytes.resize(size);
  bytes.insert(kHeaderEnd, chunks);
  return bytes;
}

absl::StatusOr<PngText> ReadPngText(std::string_view bytes, std::string_view name) {
  const auto bad = [&](size_t offset, std::string_view why) {
    return InvalidArgument(fmt::format("'{}': byte {}: {}", name, offset, why));
  };
  if (!bytes.starts_with(kSignature)) return bad(0, "not a PNG file");
  PngText text;
  size_t unpacked = 0;
  for (size_t at = kSignature.size();;) {
    if (bytes.size() - at < 12) return bad(at, "the file is cut off before its IEND chunk");
    const uint32_t length = ReadBe32(bytes.substr(at));
    const std::string_view type = bytes.substr(at + 4, 4);
    if (length > bytes.size() - at - 12) {
      return bad(at, fmt::format("this chunk of {} bytes goes beyond the end of the file", length));
    }
    if (type == "IEND") return text;
    if (type == "tEXt" || type == "zTXt" || type == "iTXt") {
      if (ReadBe32(bytes.substr(at + 8 + length)) !=
          Crc(bytes.substr(at + 4, size_t{4} + length))) {
        return bad(at, "the checksum of this text chunk does not fit; the file is damaged");
      }
      std::pair<std::string, std::string> entry;
      if (!ParseText(type, bytes.substr(at + 8, length), kMaxTextBytes - unpacked, &entry)) {
        return bad(at, "this text chunk is malformed or larger than 16 MiB");
      }
      unpacked += entry.first.size() + entry.second.size();
      if (text.size() == kMaxChunks || unpacked > kMaxTextBytes)
        return bad(at, "more text than a picture may carry");
      text.push_back(std::move(entry));
    }
    at += size_t{12} + length;
  }
}

absl::StatusOr<Image> DecodePng(std::string_view bytes, std::string_view name, int64_t max_pixels) {
  Source source{bytes, ""};
  Reader reader;
  reader.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &source, OnError, OnWarning);
  if (reader.png != nullptr) reader.info = png_create_info_struct(reader.png);
  if (reader.info == nullptr) return Internal("libpng cannot be started");
  png_set_read_fn(reader.png, &source, OnRead);
  png_set_user_limits(reader.png, kMaxImageSide, kMaxImageSide);
  png_set_chunk_malloc_max(reader.png, kMaxTextBytes);
  png_set_keep_unknown_chunks(reader.png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  const auto bad = [&] {
    return InvalidArgument(fmt::format("'{}': the PNG cannot be decoded: {}", name,
                                       source.error.empty() ? "unknown pixels" : source.error));
  };
  if (!StartReading(reader, max_pixels)) return bad();
  Image image;
  image.width = static_cast<int>(png_get_image_width(reader.png, reader.info));
  image.height = static_cast<int>(png_get_image_height(reader.png, reader.info));
  image.rgb.resize(size_t{3} * image.width * image.height);
  std::vector<png_bytep> rows;
  for (int y = 0; y < image.height; ++y) {
    rows.push_back(reinterpret_cast<png_bytep>(image.rgb.data() + size_t{3} * image.width * y));
  }
  if (!ReadRows(reader, rows.data())) return bad();
  return image;
}

}  // namespace neolog
