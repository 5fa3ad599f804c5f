// The weights that common/checkpoint says a configuration asks for are those that the model takes.

#include "common/checkpoint/shapes.h"

#include "tests/support/status_matchers.h"
#include "tests/worker/diffusion/seeded_model.h"
#include "worker/diffusion/text_encoder.h"
#include "worker/diffusion/unet.h"
#include "worker/diffusion/vae.h"
#include "worker/torch_support/weights.h"

namespace neolog::diffusion {
namespace {

using torch_support::WeightMap;
using torch_support::WeightReader;

// What a part takes when it is built: over nothing, every weight is asked for.
template <typename Build>
Shapes Asked(const Build& build) {
  const auto empty = WeightMap::Of({}, "nothing");
  build(WeightReader(*empty, at::kFloat, c10::DeviceType::CPU));
  return empty->asked();
}

TEST(Shapes, OfAUNet_AreWhatItTakes) {
  UNetConfig small = testing::SmallUNetConfig(), sdxl = testing::SmallUNetConfig();
  small.use_linear_projection = true;
  sdxl.addition_time_embed_dim = 8;
  sdxl.projection_class_embeddings_input_dim = 64;
  for (const UNetConfig& c : {small, sdxl, testing::FullUNetConfig()}) {
    EXPECT_EQ(UNetShapes(c),
              Asked([&](const WeightReader& r) { UNet(r, c, AttentionKernel::kMatmul); }));
  }
}

TEST(Shapes, OfAVae_AreWhatItTakes) {
  VaeConfig bare = testing::SmallVaeConfig();
  bare.use_quant_conv = bare.use_post_quant_conv = bare.mid_block_add_attention = false;
  for (const VaeConfig& c : {bare, testing::SmallVaeConfig(), testing::FullVaeConfig()})
    EXPECT_EQ(VaeShapes(c), Asked([&](const WeightReader& r) { Vae(r, c); }));
}

TEST(Shapes, OfATextEncoder_AreWhatItTakes) {
  ClipConfig projecting = testing::SmallClipConfig();
  projecting.projection_dim = 24;
  for (const ClipConfig& c : {projecting, testing::FullClipConfig()}) {
    Shapes asked;
    // Over nothing, the encoder takes the keys to be without their usual prefix.
    for (const auto& [key, shape] :
         Asked([&](const WeightReader& r) { ClipTextEncoder(r, c, HiddenStates::kFinal); })) {
      asked[(key.starts_with("text_projection") ? "" : "text_model.") + key] = shape;
    }
    EXPECT_EQ(ClipShapes(c), asked);
  }
}

}  // namespace
}  // namespace neolog::diffusion
