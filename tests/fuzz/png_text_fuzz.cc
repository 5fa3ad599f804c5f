// Any bytes as a PNG file whose text is read: reading must end, in bounded memory, and what is read
// must survive being written and read again.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "common/image/png.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto text = neolog::ReadPngText({reinterpret_cast<const char*>(data), size}, "fuzz.png");
  if (!text.ok()) {
    if (text.status().message().empty()) std::abort();
    return 0;
  }
  const neolog::Image dot{.width = 1, .height = 1, .rgb = "abc"};
  // Keywords of other writers may be none of ours.
  const auto png = neolog::EncodePng(dot, *text);
  if (png.ok() && *neolog::ReadPngText(*png, "again.png") != *text) std::abort();
  return 0;
}
