#include "common/checkpoint/shapes.h"

#include <functional>
#include <numeric>

#include "tests/support/status_matchers.h"

namespace neolog {
namespace {

int64_t Parameters(const Shapes& shapes) {
  int64_t sum = 0;
  for (const auto& [key, shape] : shapes)
    sum += std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
  return sum;
}

UNetConfig UNet(std::vector<int64_t> widths, std::vector<bool> cross, std::vector<int64_t> depth,
                int64_t context, bool linear, int64_t added) {
  UNetConfig c;
  c.layers_per_block.assign(widths.size(), 2);
  c.block_out_channels = std::move(widths);
  c.up_cross_attention.assign(cross.rbegin(), cross.rend());
  c.down_cross_attention = std::move(cross);
  c.transformer_layers_per_block = std::move(depth);
  c.cross_attention_dim = context;
  c.use_linear_projection = linear;
  c.projection_class_embeddings_input_dim = added;
  return c;
}

struct Published {
  const char* name;
  Shapes shapes;
  size_t tensors;
  int64_t parameters;
};

// Counts of the published models' own state dictionaries, as diffusers 0.36 and transformers 4.57
// make them.
TEST(Shapes, PublishedModels_HaveTheirTensors) {
  const ClipConfig vit_l;
  const ClipConfig vit_h = {.hidden_size = 1024,
                            .intermediate_size = 4096,
                            .num_hidden_layers = 23,
                            .num_attention_heads = 16};
  const ClipConfig big_g = {.hidden_size = 1280,
                            .intermediate_size = 5120,
                            .num_hidden_layers = 32,
                            .num_attention_heads = 20,
                            .projection_dim = 1280};
  const Published cases[] = {
      {"CLIP ViT-L", ClipShapes(vit_l), 196, 123'060'480},
      {"OpenCLIP ViT-H, 23 layers", ClipShapes(vit_h), 372, 340'387'840},
      {"OpenCLIP ViT-bigG", ClipShapes(big_g), 517, 694'659'840},
      {"UNet of SD 1.5",
       UNetShapes(
           UNet({320, 640, 1280, 1280}, {true, true, true, false}, {1, 1, 1, 1}, 768, false, 0)),
       686, 859'520'964},
      {"UNet of SD 2.1",
       UNetShapes(
           UNet({320, 640, 1280, 1280}, {true, true, true, false}, {1, 1, 1, 1}, 1024, true, 0)),
       686, 865'910'724},
      {"UNet of SDXL",
       UNetShapes(UNet({320, 640, 1280}, {false, true, true}, {1, 2, 10}, 2048, true, 2816)), 1680,
       2'567'463'684},
      {"VAE", VaeShapes({.block_out_channels = {128, 256, 512, 512}}), 248, 83'653'863},
  };
  for (const Published& one : cases) {
    EXPECT_EQ(one.shapes.size(), one.tensors) << one.name;
    EXPECT_EQ(Parameters(one.shapes), one.parameters) << one.name;
  }
}

}  // namespace
}  // namespace neolog
