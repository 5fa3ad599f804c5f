#include "worker/train/loss_scale.h"

#include <algorithm>
#include <cmath>

namespace neolog::train {

bool LossScale::IsValid(float factor, uint32_t steps) {
  int exponent = 0;
  return factor >= kSmallest && factor <= kLargest && std::frexp(factor, &exponent) == 0.5f &&
         steps < kGrowthInterval;
}

void LossScale::AfterStep(bool overflowed) {
  if (overflowed) {
    factor_ = std::max(factor_ / 2, kSmallest);
    steps_ = 0;
  } else if (++steps_ == kGrowthInterval) {
    factor_ = std::min(factor_ * 2, kLargest);
    steps_ = 0;
  }
}

}  // namespace neolog::train
