#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "tests/support/status_matchers.h"
#include "tests/worker/train/demo_pack.h"

namespace neolog::train {
namespace {

using testing::AssignmentOf;
using testing::DemoSpec;
using testing::MakeArtifact;
using testing::NewTrainer;
using testing::Step;

// The loss on fixed noise, timesteps and pictures after the current step, which must be one that
// asks for it.
double ValidationLoss(session::Trainer& trainer) {
  EXPECT_EQ(trainer.ArtifactCount(0), 1u);
  const auto artifact = MakeArtifact(trainer, 0, 0);
  EXPECT_OK(artifact);
  return artifact.ok() ? artifact->report.value() : 0;
}

// What the project is for: on the demo's pictures, the word comes to mean what they show.
TEST(LearningTest, ValidationLoss_FallsOnTheDemosPictures) {
  MemoryBlobStore blobs;
  for (const auto& [object, precision] : {std::pair<std::string, std::string>{"zesko", "fp32"},
                                          {"wimbra", "fp32"},
                                          {"zesko", "fp16"}}) {
    SCOPED_TRACE(object + " in " + precision);
    v1::RunSpec spec = DemoSpec(object, object, blobs);
    spec.mutable_model()->set_precision(precision);
    spec.mutable_training()->set_steps(40);
    spec.mutable_training()->set_warmup_steps(1);
    spec.mutable_validation()->set_every_steps(1);
    auto trainer = NewTrainer(AssignmentOf({spec}), blobs);
    Step(*trainer);
    const double before = ValidationLoss(*trainer);
    while (trainer->StepOf(0) < 40) Step(*trainer);
    const double after = ValidationLoss(*trainer);
    RecordProperty("before_" + object + "_" + precision, std::to_string(before));
    RecordProperty("after_" + object + "_" + precision, std::to_string(after));
    // Over the whole run the loss falls by about a fifth; most of it in the first steps.
    EXPECT_LT(after, 0.95 * before);
  }
}

}  // namespace
}  // namespace neolog::train
