// Bytes in the places of a picture carrier that count, which checksums and packing would hide from
// the fuzzer: the first byte chooses a whole file, the JSON in a text chunk, or the pixels.
// Refused, or written in every format with the same rows.
#include <cstdint>
#include <string>
#include <string_view>

#include "common/embedding/base64.h"
#include "common/image/png.h"
#include "tests/fuzz/check_embedding.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 3) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  neolog::Image image{1, 1, "abc"};
  switch (data[0] % 3) {
    case 0: neolog::fuzz::CheckEmbedding(bytes); break;
    case 1:
      neolog::fuzz::CheckEmbedding(
          *EncodePng(image, {{"sd-ti-embedding", neolog::EncodeBase64(bytes)}}));
      break;
    case 2: {
      const auto height = static_cast<size_t>(data[1] % 32 + 1);
      const size_t width = (size - 2) / (3 * height);
      if (width == 0) break;
      image = {static_cast<int>(width), static_cast<int>(height),
               std::string(bytes.substr(1, width * height * 3))};
      neolog::fuzz::CheckEmbedding(*EncodePng(image, {}));
      break;
    }
  }
  return 0;
}
