#include "worker/diffusion/rows.h"

#include <c10/util/Exception.h>

#include <numeric>

namespace neolog::diffusion {

std::vector<at::Tensor> RowBlocks(const at::Tensor& flat, const std::vector<int64_t>& widths) {
  const int64_t width = std::accumulate(widths.begin(), widths.end(), int64_t{0});
  TORCH_CHECK(width > 0 && flat.size(-1) % width == 0, flat.size(-1),
              " floats are no rows of widths that add up to ", width);
  const int64_t vectors = flat.size(-1) / width;
  std::vector<at::Tensor> blocks;
  int64_t begin = 0;
  for (const int64_t d : widths) {
    const at::Tensor part = flat.narrow(-1, begin, vectors * d);
    blocks.push_back(part.unflatten(-1, {vectors, d}));
    begin += vectors * d;
  }
  return blocks;
}

}  // namespace neolog::diffusion
