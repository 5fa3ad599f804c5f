#pragma once

#include "common/image/image.h"

namespace neolog {

/// The picture in another size, byte for byte as Pillow's `Image.resize(size, Image.BICUBIC)`
/// computes it for squares: a cubic with a = -0.5, widened by the scale when shrinking, first along
/// the rows and then along the columns, in integers with 22 fractional bits, rounded to bytes in
/// between. libvips' resize is not used because its vector code gives other bits on other machines.
/// (For other shapes newer Pillows may begin with the columns.) Sizes are at least 1; the picture's
/// bytes fit its size.
Image ResizeBicubic(const Image& image, int width, int height);

}  // namespace neolog
