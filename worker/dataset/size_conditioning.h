#pragma once

#include <array>
#include <cstdint>

namespace neolog::dataset {

/// What SDXL's UNet is told of a picture, in pixels: height and width as it was, top and left of
/// the crop, height and width of the result ("Micro-conditioning" in Podell et al., "SDXL", 2023).
using TimeIds = std::array<int64_t, 6>;

/// The sizes of a picture of width x height pixels that becomes a square of `resolution` as
/// PrepareSquare (common/image) does it. The crop counts in pixels of the result, as if the picture
/// had been scaled first. A picture of unknown size (0 x 0) counts as that square.
TimeIds TimeIdsOf(uint32_t width, uint32_t height, uint32_t resolution);

}  // namespace neolog::dataset
