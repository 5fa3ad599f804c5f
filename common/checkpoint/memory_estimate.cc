#include "common/checkpoint/memory_estimate.h"

#include <fmt/format.h>

#include <numeric>

#include "common/checkpoint/attention_rule.h"

namespace neolog {
namespace {

// Bytes that libtorch keeps of one sample between the forward and the backward pass.
class KeptBytes {
 public:
  KeptBytes(const Checkpoint& checkpoint, const MemoryQuestion& question)
      : unet_(checkpoint.unet),
        value_(question.precision == "fp32" ? 4 : 2),
        // The softmax is fp32; what is multiplied with the values is in the model's type.
        score_(question.precision == "fp32" ? 4 : 6),
        gpu_(question.gpu),
        side_(static_cast<double>(question.side) / static_cast<double>(checkpoint.vae.Factor())) {
    for (const ClipConfig& clip : checkpoint.clips) AddTextEncoder(clip);
    text_positions_ = checkpoint.clips.empty()
                          ? 0
                          : static_cast<double>(checkpoint.clips[0].max_position_embeddings);
    AddUNet();
  }
  double total() const { return total_; }

 private:
  // Always fp32. A layer: two norms' inputs, q, k, v and their scores, and of the feed-forward's
  // width the input, the sigmoid and the product of its activation.
  void AddTextEncoder(const ClipConfig& clip) {
    const auto positions = static_cast<double>(clip.max_position_embeddings);
    const auto width = static_cast<double>(clip.hidden_size),
               inner = static_cast<double>(clip.intermediate_size),
               heads = static_cast<double>(clip.num_attention_heads);
    total_ += static_cast<double>(clip.num_hidden_layers) * 4 * positions *
              (5 * width + 3 * inner + heads * positions);
  }

  double Positions(size_t level) const {
    const double own = side_ / static_cast<double>(int64_t{1} << level);
    return own * own;
  }
  double Width(size_t level) const { return static_cast<double>(unet_.block_out_channels[level]); }
  void Keep(size_t level, double channels) { total_ += Positions(level) * channels * value_; }

  // Input, norm and activation before either convolution.
  void AddResnet(double in, size_t level) {
    if (reached_) Keep(level, 3 * in + 3 * Width(level));
  }

  void AddTransformer(size_t level) {
    const double positions = Positions(level), width = Width(level),
                 heads = static_cast<double>(unet_.num_attention_heads[level]);
    // The projections are convolutions in SD 1 and linear layers, which keep nothing, later.
    const double projection = unet_.use_linear_projection ? 0 : width;
    if (reached_) Keep(level, width + projection);
    for (int64_t layer = 0; layer < unet_.transformer_layers_per_block[level]; ++layer) {
      if (reached_) {
        Keep(level, 4 * width);  // the norm's input, q, k and v
        AddScores(level, heads, positions);
      }
      reached_ = true;
      // The second norm's input and q; the third norm's, and the feed-forward's two halves of four
      // times the width and the gate's activation.
      Keep(level, 2 * width + 13 * width);
      AddScores(level, heads, text_positions_);
    }
    Keep(level, projection);
  }

  void AddScores(size_t level, double heads, double keys) {
    const double scores = Positions(level) * keys;
    if (gpu_ || scores >= static_cast<double>(kFusedFromScores)) {
      Keep(level, Width(level));               // the output
      total_ += heads * Positions(level) * 4;  // and each row's sum
    } else {
      total_ += heads * scores * score_;
    }
  }

  void AddUNet() {
    const size_t levels = unet_.block_out_channels.size();
    double width = Width(0);
    for (size_t level = 0; level < levels; ++level) {
      for (int64_t i = 0; i < unet_.layers_per_block[level]; ++i) {
        AddResnet(width, level);
        if (unet_.down_cross_attention[level]) AddTransformer(level);
        width = Width(level);
      }
      if (level + 1 < levels && reached_) Keep(level, width);  // the halving convolution's input
    }
    AddResnet(width, levels - 1);
    AddTransformer(levels - 1);
    AddResnet(width, levels - 1);
    for (size_t level = levels; level-- > 0;) {
      for (int64_t i = 0; i <= unet_.layers_per_block[level]; ++i) {
        const double skip =
            Width(i < unet_.layers_per_block[level] || level == 0 ? level : level - 1);
        AddResnet(width + skip, level);
        if (unet_.up_cross_attention[levels - 1 - level]) AddTransformer(level);
        width = Width(level);
      }
      if (level > 0) Keep(level - 1, width);  // the doubling convolution's input
    }
    Keep(0, 3 * width);  // the last norm, its activation and convolution
  }

  const UNetConfig& unet_;
  const double value_, score_;
  const bool gpu_;
  const double side_;
  double text_positions_ = 0;
  double total_ = 0;
  /// Whether the text has come in: before, no gradient flows.
  bool reached_ = false;
};

int64_t Parameters(const CheckpointPart& part) {
  int64_t parameters = 0;
  for (const auto& [key, source] : part.weights) {
    const auto& shape = source.view.shape;
    parameters += std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  }
  return parameters;
}

}  // namespace

int64_t MemoryEstimate::MostSamples(int64_t bytes) const {
  int64_t most = 0;
  for (int64_t samples = 1; samples <= 256 && Total(samples) <= bytes; samples *= 2) most = samples;
  return most;
}

std::string DescribeShortage(const MemoryEstimate& estimate, int64_t microbatch, int64_t bytes) {
  const auto gigabytes = [](int64_t value) {
    return fmt::format("{:.1f} GB", static_cast<double>(value) / 1e9);
  };
  const std::string needs = gigabytes(estimate.Total(microbatch)), has = gigabytes(bytes);
  const bool fits = estimate.Total(microbatch) <= bytes;
  const int64_t fewer = fits ? microbatch / 2 : estimate.MostSamples(bytes);
  std::string what_to_try = "a smaller data.resolution";
  if (fewer > 0) {
    what_to_try =
        fmt::format("training.microbatch {} (about {})", fewer, gigabytes(estimate.Total(fewer)));
  } else if (estimate.precision == "fp32") {
    what_to_try = "model.precision bf16 (fp16 on a GPU without it), or " + what_to_try;
  }
  if (fits) {
    return fmt::format(
        "out of memory, though microbatch {} needs about {} of {}: another program, another worker "
        "or a CUDA graph may use it. If not, try {}",
        microbatch, needs, has, what_to_try);
  }
  return fmt::format("batch too large for {} (microbatch {} needs about {}): try {}", has,
                     microbatch, needs, what_to_try);
}

MemoryEstimate EstimateMemory(const Checkpoint& checkpoint, const MemoryQuestion& question) {
  const int64_t value = question.precision == "fp32" ? 4 : 2;
  MemoryEstimate estimate{.precision = question.precision};
  for (const CheckpointPart& part : checkpoint.text_encoders)
    estimate.weights += 4 * Parameters(part);
  estimate.weights += value * Parameters(checkpoint.unet_weights);
  estimate.weights += (question.precision == "bf16" ? 2 : 4) * Parameters(checkpoint.vae_weights);
  estimate.per_sample =
      static_cast<int64_t>(KeptBytes(checkpoint, question).total() * MemoryEstimate::kHeapShare);
  return estimate;
}

}  // namespace neolog
