#include "worker/dataset/size_conditioning.h"

#include <algorithm>

namespace neolog::dataset {

TimeIds TimeIdsOf(uint32_t width, uint32_t height, uint32_t resolution) {
  const int64_t target = resolution;
  if (width == 0 || height == 0) return {target, target, 0, 0, target, target};
  const int64_t w = width, h = height, side = std::min(w, h);
  return {h, w, (h - side) / 2 * target / side, (w - side) / 2 * target / side, target, target};
}

}  // namespace neolog::dataset
