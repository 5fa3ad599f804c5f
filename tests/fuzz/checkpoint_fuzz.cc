// Any keys and shapes as a single file's: recognised, renamed and sized without more memory than
// they are worth; what a model's own configuration asks for is found again. Also as a .yaml beside
// a file. A line of the input is a key, a tab and sizes with commas between.
#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <string>

#include "common/checkpoint/hints.h"
#include "common/checkpoint/key_rules.h"
#include "common/checkpoint/recognise.h"
#include "common/checkpoint/shapes.h"

namespace neolog {
namespace {

WeightTable Read(const std::string& text) {
  WeightTable table;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t tab = line.find('\t');
    WeightSource source;
    source.key = line.substr(0, tab);
    std::istringstream sizes(tab == std::string::npos ? "" : line.substr(tab + 1));
    for (std::string size; std::getline(sizes, size, ',') && source.view.shape.size() < 8;)
      source.view.shape.push_back(std::atoi(size.c_str()));
    table.emplace(source.key, source);
  }
  return table;
}

// Every weight is taken or left over, and without a problem all that is asked for is there.
void Fit(const Shapes& shapes, WeightTable weights) {
  if (shapes.size() > 2'000'000) std::abort();
  std::vector<std::string> unexpected;
  const size_t before = weights.size();
  const auto problems = FitWeights(shapes, "part", &weights, &unexpected);
  if (weights.size() + unexpected.size() != before) std::abort();
  if (problems.empty() && weights.size() != shapes.size()) std::abort();
}

}  // namespace
}  // namespace neolog

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace neolog;
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto hints = HintsOfYaml(text, "fuzz"); !hints.ok() && hints.status().message().empty())
    std::abort();
  const WeightTable table = Read(text);
  if (const auto other = DescribeOther(table); other && other->empty()) std::abort();
  std::vector<std::string> unexpected;
  const KeyLayout layout = LayoutOf(table, "model.diffusion_model.", "first_stage_model.");
  const auto unet =
      RenameAll(table, "model.diffusion_model.", OriginalUNetRules(), layout, &unexpected);
  if (unet.ok()) {
    if (const auto config = UNetFromWeights(*unet, "unet"); config.ok())
      Fit(UNetShapes(*config), *unet);
  }
  const auto vae = RenameAll(table, "first_stage_model.", OriginalVaeRules(), layout, &unexpected);
  if (vae.ok()) {
    if (const auto config = VaeFromWeights(*vae, "vae"); config.ok()) Fit(VaeShapes(*config), *vae);
  }
  for (const auto& [prefix, rules] : {std::pair("cond_stage_model.model.", &OpenClipRules()),
                                      std::pair("cond_stage_model.transformer.", &ClipRules())}) {
    const auto clip = RenameAll(table, prefix, *rules, layout, &unexpected);
    if (!clip.ok()) continue;
    if (const auto config = ClipFromWeights(*clip, "text"); config.ok())
      Fit(ClipShapes(*config), *clip);
  }
  if (SummariseKeys(unexpected).empty() != unexpected.empty()) std::abort();
  return 0;
}
