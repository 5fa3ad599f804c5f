#include "common/image/resample.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace neolog {
namespace {

constexpr int kFractionBits = 22;
constexpr double kCubicSupport = 2.0;

double Cubic(double x) {
  constexpr double a = -0.5;
  x = std::fabs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

/// What one output position takes from the input: weights of the positions from `first` on.
struct Taps {
  int first = 0;
  std::vector<int32_t> weights;
};

std::vector<Taps> MakeTaps(int in, int out) {
  const double scale = static_cast<double>(in) / out;
  const double widening = std::max(scale, 1.0);
  const double support = kCubicSupport * widening;
  const double shrink = 1.0 / widening;
  std::vector<Taps> taps(out);
  std::vector<double> weights;
  for (int i = 0; i < out; ++i) {
    const double center = (i + 0.5) * scale;
    const int first = std::max(static_cast<int>(center - support + 0.5), 0);
    const int end = std::min(static_cast<int>(center + support + 0.5), in);
    weights.clear();
    double sum = 0;
    for (int x = first; x < end; ++x) {
      weights.push_back(Cubic((x - center + 0.5) * shrink));
      sum += weights.back();
    }
    taps[i].first = first;
    for (const double weight : weights) {
      const double share = (sum != 0 ? weight / sum : weight) * (1 << kFractionBits);
      taps[i].weights.push_back(static_cast<int32_t>(share < 0 ? share - 0.5 : share + 0.5));
    }
  }
  return taps;
}

char ToByte(int64_t sum) {
  return static_cast<char>(static_cast<uint8_t>(std::clamp<int64_t>(sum >> kFractionBits, 0, 255)));
}

/// One pass over lines of `taps.size()` pixels. `step` is the distance of neighbouring pixels in
/// bytes.
void Pass(const std::vector<Taps>& taps, const char* in, size_t in_step, char* out,
          size_t out_step) {
  for (size_t i = 0; i < taps.size(); ++i) {
    int64_t sums[3] = {1 << (kFractionBits - 1), 1 << (kFractionBits - 1),
                       1 << (kFractionBits - 1)};
    const char* pixel = in + static_cast<size_t>(taps[i].first) * in_step;
    for (const int32_t weight : taps[i].weights) {
      for (int c = 0; c < 3; ++c)
        sums[c] += static_cast<int64_t>(static_cast<uint8_t>(pixel[c])) * weight;
      pixel += in_step;
    }
    for (int c = 0; c < 3; ++c) out[i * out_step + c] = ToByte(sums[c]);
  }
}

}  // namespace

Image ResizeBicubic(const Image& image, int width, int height) {
  Image wide = image;
  if (width != image.width) {
    wide.width = width;
    wide.rgb.assign(size_t{3} * width * image.height, '\0');
    const std::vector<Taps> taps = MakeTaps(image.width, width);
    for (int y = 0; y < image.height; ++y) {
      Pass(taps, image.rgb.data() + size_t{3} * y * image.width, 3,
           wide.rgb.data() + size_t{3} * y * width, 3);
    }
  }
  if (height == image.height) return wide;
  Image resized{
      .width = width, .height = height, .rgb = std::string(size_t{3} * width * height, '\0')};
  const std::vector<Taps> taps = MakeTaps(image.height, height);
  for (int x = 0; x < width; ++x) {
    Pass(taps, wide.rgb.data() + size_t{3} * x, size_t{3} * width,
         resized.rgb.data() + size_t{3} * x, size_t{3} * width);
  }
  return resized;
}

}  // namespace neolog
