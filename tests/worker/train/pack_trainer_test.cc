#include "worker/train/pack_trainer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "common/base/hash.h"
#include "common/image/png.h"
#include "tests/support/status_matchers.h"
#include "tests/worker/train/demo_pack.h"
#include "worker/session/blame.h"
#include "worker/train/loss_scale.h"

namespace neolog::train {
namespace {

using ::neolog::testing::StatusIs;
using session::MicrobatchRange;
using session::RunStep;
using session::Trainer;
using ::testing::AllOf;
using testing::AssignmentOf;
using testing::Compute;
using testing::DemoSpec;
using ::testing::HasSubstr;
using testing::MakeArtifact;
using testing::NewTrainer;
using testing::Step;
using testing::StepAs;

class PackTrainerTest : public ::testing::Test {
 protected:
  v1::RunSpec Spec(const std::string& name = "zesko") { return DemoSpec(name, "zesko", blobs_); }
  v1::RunSpec OtherSpec() {
    v1::RunSpec spec = DemoSpec("wimbra", "wimbra", blobs_);
    spec.mutable_word(0)->set_vectors(3);
    spec.mutable_word(0)->set_init_text("orange square");
    spec.mutable_training()->set_learning_rate("0.005");
    spec.mutable_training()->set_batch_size(3);
    spec.mutable_training()->set_seed(99);
    return spec;
  }
  std::unique_ptr<Trainer> Train(const std::vector<v1::RunSpec>& specs) {
    return NewTrainer(AssignmentOf(specs), blobs_);
  }
  // The state after `steps` steps of one worker.
  std::string Alone(const v1::RunSpec& spec, int steps) {
    auto trainer = Train({spec});
    for (int i = 0; i < steps; ++i) Step(*trainer);
    return trainer->SaveState(0);
  }

  MemoryBlobStore blobs_;
};

TEST_F(PackTrainerTest, State_IsTheSameForEverySplitOfTheWork) {
  v1::RunSpec spec = Spec();
  spec.mutable_training()->set_gradient_accumulation(2);  // 8 samples, 4 microbatches of 2
  const std::string alone = Alone(spec, 6);
  const std::vector<std::vector<uint32_t>> teams = {
      {2, 2}, {1, 3}, {1, 1, 2}, {1, 1, 1, 1}, {4, 0}};
  for (const std::vector<uint32_t>& team : teams) {
    SCOPED_TRACE(::testing::PrintToString(team));
    auto trainer = Train({spec});
    for (int i = 0; i < 6; ++i) StepAs(*trainer, team);
    EXPECT_EQ(trainer->SaveState(0), alone);
  }
}

TEST_F(PackTrainerTest, FastReduce_IsNearTheOrderedOne_ForEverySplit_AndExactAlone) {
  v1::RunSpec ordered = Spec(), fast = Spec(), other = OtherSpec();
  for (v1::RunSpec* s : {&fast, &other}) s->mutable_training()->set_reduce("fast");
  const std::vector<float> expected = testing::RowsOf(Alone(ordered, 4));
  EXPECT_EQ(Alone(fast, 4), Alone(ordered, 4)) << "one member adds in sample order";
  const auto near = [&](const std::vector<float>& rows) {
    ASSERT_EQ(rows.size(), expected.size());
    // Another order of adding; Adam turns the last digit of a small gradient into a visible one.
    for (size_t i = 0; i < rows.size(); ++i) EXPECT_NEAR(rows[i], expected[i], 1e-4) << i;
  };
  auto pair = Train({fast});
  for (int i = 0; i < 4; ++i) StepAs(*pair, {1, 1});
  near(testing::RowsOf(pair->SaveState(0)));
  auto pack = Train({other, fast});
  for (int i = 0; i < 4; ++i) StepAs(*pack, {1, 0, 3});
  near(testing::RowsOf(pack->SaveState(1)));
  EXPECT_THAT((*CreatePackTrainer({.blobs = &blobs_}))->Prepare(AssignmentOf({ordered, other})),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("differ in training.reduce")));
}

TEST_F(PackTrainerTest, Payload_IsTheSameFromAnotherProcessOfTheTeam) {
  auto one = Train({Spec()});
  auto other = Train({Spec()});
  EXPECT_EQ(Compute(*one, {1, 1}).value(),
            Compute(*other, {0, 2}).value().substr(other->PayloadSize({0, 1})));
}

TEST_F(PackTrainerTest, PreparedAhead_ChangesNoBytes_InTeamsPacksAndAfterLoading) {
  const std::string alone = Alone(Spec(), 5), other = Alone(OtherSpec(), 5);
  const auto create = [&] {
    auto trainer = CreatePackTrainer({.prepare_ahead = true, .blobs = &blobs_});
    EXPECT_OK(trainer);
    EXPECT_OK((*trainer)->Prepare(AssignmentOf({Spec(), OtherSpec()})));
    return *std::move(trainer);
  };
  auto pack = create();
  for (int i = 0; i < 5; ++i)
    StepAs(*pack, i == 3 ? std::vector<uint32_t>{3, 1} : std::vector<uint32_t>{1, 3});
  EXPECT_EQ(pack->SaveState(0), alone);
  EXPECT_EQ(pack->SaveState(1), other);
  auto again = create();
  for (int i = 0; i < 3; ++i) Step(*again);
  ASSERT_OK(again->LoadState(0, Alone(Spec(), 2)));
  ASSERT_OK(again->LoadState(1, Alone(OtherSpec(), 2)));
  for (int i = 0; i < 3; ++i) Step(*again);
  EXPECT_EQ(again->SaveState(0), alone);
  EXPECT_EQ(again->SaveState(1), other);
}

TEST_F(PackTrainerTest, PackedRuns_EndWithTheBytesOfTheirSoloRuns) {
  const std::string first = Alone(Spec(), 7);
  const std::string second = Alone(OtherSpec(), 7);
  auto pack = Train({Spec(), OtherSpec()});
  for (int i = 0; i < 7; ++i) StepAs(*pack, {1, 2, 1});
  EXPECT_EQ(pack->SaveState(0), first);
  EXPECT_EQ(pack->SaveState(1), second);
  EXPECT_NE(first, second);
}

TEST_F(PackTrainerTest, ChunkedPrompts_AreTheSameForEverySplitPackAndResume) {
  v1::RunSpec spec = Spec();
  spec.mutable_text()->set_long_prompts("chunk");
  spec.mutable_word(0)->set_vectors(2);
  spec.mutable_data()->clear_templates();
  std::string longer = "a photo of";
  for (int i = 0; i < 40; ++i) longer += " a thing";
  // One chunk, two with the word in the second, two with the word in both.
  spec.mutable_data()->add_templates("a photo of a [name]");
  spec.mutable_data()->add_templates(longer + " and [name]");
  spec.mutable_data()->add_templates("[name] " + longer + ", [name]");
  const std::string alone = Alone(spec, 4);
  for (const std::vector<uint32_t>& team :
       std::vector<std::vector<uint32_t>>{{1, 1}, {0, 2}, {1, 0, 1}}) {
    auto trainer = Train({spec});
    for (int i = 0; i < 4; ++i) StepAs(*trainer, team);
    EXPECT_EQ(trainer->SaveState(0), alone);
  }
  auto pack = Train({OtherSpec(), spec});  // beside a run of one chunk
  for (int i = 0; i < 4; ++i) StepAs(*pack, {2, 1, 1});
  EXPECT_EQ(pack->SaveState(1), alone);
  EXPECT_EQ(pack->SaveState(0), Alone(OtherSpec(), 4));

  v1::Assignment assignment = AssignmentOf({spec});
  const std::string saved = Alone(spec, 2);
  assignment.mutable_runs(0)->set_committed_state(saved);
  assignment.mutable_runs(0)->set_committed_hash(Hash64(saved));
  assignment.mutable_runs(0)->set_committed_step(2);
  auto resumed = NewTrainer(assignment, blobs_);
  for (int i = 0; i < 2; ++i) Step(*resumed);
  EXPECT_EQ(resumed->SaveState(0), alone);
}

TEST_F(PackTrainerTest, RunsWhosePromptsFit_HaveTheSameBytesInChunks) {
  v1::RunSpec cut = Spec(), chunked = Spec();
  cut.mutable_text()->set_long_prompts("truncate");
  chunked.mutable_text()->set_long_prompts("chunk");
  EXPECT_EQ(Alone(cut, 2), Alone(Spec(), 2));
  EXPECT_EQ(Alone(chunked, 2), Alone(Spec(), 2));
}

TEST_F(PackTrainerTest, PaddedSlots_DoNotChangeTheOtherSamples) {
  // Three samples in microbatches of two: the last one is padded. With a batch of four the first
  // three are the same samples.
  v1::RunSpec three = Spec(), four = Spec();
  three.mutable_training()->set_batch_size(3);
  auto short_batch = Train({three});
  auto full_batch = Train({four});
  ASSERT_OK(Compute(*short_batch, {0, 2}));
  const uint64_t progress = short_batch->Progress();
  const std::string payload = Compute(*short_batch, {0, 2}).value();
  EXPECT_EQ(short_batch->Progress(), progress + 2) << "a microbatch each";
  ASSERT_EQ(payload.size(), short_batch->PayloadSize({0, 2}));
  EXPECT_EQ(payload, Compute(*full_batch, {0, 2}).value().substr(0, payload.size()));
}

TEST_F(PackTrainerTest, SavedState_GoesOnToTheBytesOfAStraightRun) {
  const std::string straight = Alone(Spec(), 8);
  v1::Assignment assignment = AssignmentOf({Spec()});
  const std::string saved = Alone(Spec(), 3);
  assignment.mutable_runs(0)->set_committed_state(saved);
  assignment.mutable_runs(0)->set_committed_hash(Hash64(saved));
  assignment.mutable_runs(0)->set_committed_step(3);
  auto resumed = NewTrainer(assignment, blobs_);
  EXPECT_EQ(resumed->StepOf(0), 3u);
  EXPECT_EQ(resumed->HashOf(0), Hash64(saved));
  for (int i = 0; i < 5; ++i) Step(*resumed);
  EXPECT_EQ(resumed->SaveState(0), straight);

  auto behind = Train({Spec()});
  ASSERT_OK(behind->LoadState(0, saved));
  for (int i = 0; i < 5; ++i) Step(*behind);
  EXPECT_EQ(behind->SaveState(0), straight);

  assignment.mutable_runs(0)->set_committed_hash(1);
  EXPECT_THAT(resumed->Prepare(assignment),
              StatusIs(absl::StatusCode::kDataLoss, HasSubstr("hash")));
}

// A state whose loss scale is the highest: the demo's gradients overflow under it.
std::string WithLossScale(const std::string& saved, float scale) {
  v1::TrainState state;
  EXPECT_TRUE(state.ParseFromString(saved));
  state.set_loss_scale(scale);
  state.set_loss_scale_steps(0);
  return state.SerializeAsString();
}

TEST_F(PackTrainerTest, Float16_OverflowLowersTheScale_TheSameForEverySplitPackAndResume) {
  v1::RunSpec spec = Spec(), other = OtherSpec();
  for (v1::RunSpec* s : {&spec, &other}) s->mutable_model()->set_precision("fp16");
  const auto scale_of = [](const std::string& saved) {
    v1::TrainState state;
    EXPECT_TRUE(state.ParseFromString(saved));
    return state.loss_scale();
  };
  const std::string first = WithLossScale(Alone(spec, 1), LossScale::kLargest);
  const auto from_first = [&](const std::vector<uint32_t>& team, int steps) {
    auto trainer = Train({spec});
    EXPECT_OK(trainer->LoadState(0, first));
    for (int i = 0; i < steps; ++i) StepAs(*trainer, team);
    return trainer->SaveState(0);
  };
  const std::string alone = from_first({2}, 4);
  EXPECT_LT(scale_of(alone), LossScale::kLargest) << "nothing overflowed: the test shows nothing";
  for (const std::vector<uint32_t>& team : std::vector<std::vector<uint32_t>>{{1, 1}, {0, 2}})
    EXPECT_EQ(from_first(team, 4), alone);

  auto resumed = Train({spec});
  ASSERT_OK(resumed->LoadState(0, from_first({2}, 2)));
  for (int i = 0; i < 2; ++i) Step(*resumed);
  EXPECT_EQ(resumed->SaveState(0), alone);

  auto pack = Train({other, spec});
  ASSERT_OK(pack->LoadState(1, first));
  for (int i = 0; i < 4; ++i) StepAs(*pack, {1, 2, 1});
  EXPECT_EQ(pack->SaveState(1), alone);
  EXPECT_EQ(scale_of(pack->SaveState(0)), LossScale::kFirst) << "a packmate has its own";
}

TEST_F(PackTrainerTest, NotFiniteNumber_IsRefusedAndOnlyItsRunStops) {
  auto pack = Train({Spec(), OtherSpec()});
  Step(*pack);
  const std::string before = pack->SaveState(0);
  std::string payloads = Compute(*pack, {0, pack->MicrobatchCount()}).value();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::memcpy(payloads.data(), &nan, sizeof nan);
  const std::vector<RunStep> steps = pack->ApplyStep(payloads).value();
  ASSERT_EQ(steps.size(), 2u);
  EXPECT_TRUE(steps[0].refused);
  EXPECT_THAT(steps[0].failure.message(),
              AllOf(HasSubstr("step 2 of 'zesko'"), HasSubstr(".png' with the prompt '"),
                    HasSubstr("zesko'"), HasSubstr("learning rate 0.006")));
  EXPECT_EQ(pack->SaveState(0), before);
  EXPECT_FALSE(steps[1].refused);
  EXPECT_EQ(pack->StepOf(1), 2u);
  EXPECT_EQ(pack->ActiveRuns(), (std::vector<size_t>{1}));
  EXPECT_EQ(Step(*pack).size(), 1u);
}

TEST_F(PackTrainerTest, RemovedAndFinishedRuns_LeaveThePack) {
  v1::RunSpec brief = OtherSpec();
  brief.mutable_training()->set_learning_rate("0.005:2");
  brief.mutable_training()->set_warmup_steps(0);
  auto pack = Train({Spec(), brief, Spec("again")});
  EXPECT_EQ(pack->MicrobatchCount(), 6u);
  Step(*pack);
  EXPECT_EQ(pack->ActiveRuns(), (std::vector<size_t>{0, 1, 2}));
  Step(*pack);
  EXPECT_EQ(pack->ActiveRuns(), (std::vector<size_t>{0, 2}));
  EXPECT_EQ(pack->MicrobatchCount(), 4u);
  pack->RemoveRun(0);
  EXPECT_EQ(pack->ActiveRuns(), (std::vector<size_t>{2}));
  EXPECT_EQ(pack->StepOf(0), 2u);
  EXPECT_EQ(Step(*pack).at(0).run, 2u);
  EXPECT_EQ(pack->StepOf(0), 2u);
}

TEST_F(PackTrainerTest, FirstRows_ComeFromInitText_File_OrAreZero) {
  v1::RunSpec spec = Spec();
  spec.mutable_word(0)->set_vectors(4);
  spec.mutable_word(0)->set_init_text("orange square");
  const std::vector<float> rows = testing::RowsOf(Alone(spec, 0));
  spec.mutable_word(0)->set_vectors(1);
  spec.mutable_word(0)->set_init_text("square");
  const std::vector<float> square = testing::RowsOf(Alone(spec, 0));
  const size_t width = square.size();
  ASSERT_EQ(rows.size(), 4 * width);
  const auto row = [&](size_t i) {
    return std::vector<float>(rows.begin() + i * width, rows.begin() + (i + 1) * width);
  };
  EXPECT_EQ(row(0), row(1));
  EXPECT_NE(row(1), row(2));
  EXPECT_EQ(row(2), square);
  EXPECT_EQ(row(3), square);

  spec.mutable_word(0)->set_init_text("");
  EXPECT_EQ(testing::RowsOf(Alone(spec, 0)), std::vector<float>(width, 0.0f));

  std::vector<float> given(width);
  for (size_t i = 0; i < width; ++i) given[i] = static_cast<float>(i);
  const std::string bytes(reinterpret_cast<const char*>(given.data()),
                          given.size() * sizeof(float));
  spec.mutable_word(0)->set_initial_rows(bytes);
  EXPECT_EQ(testing::RowsOf(Alone(spec, 0)), given);

  spec.mutable_word(0)->set_initial_rows(bytes.substr(4));
  auto trainer = CreatePackTrainer({.blobs = &blobs_});
  ASSERT_OK(trainer);
  EXPECT_THAT((*trainer)->Prepare(AssignmentOf({spec})),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       AllOf(HasSubstr("initial_rows"), HasSubstr("text width"))));
}

TEST_F(PackTrainerTest, OutOfMemory_SaysWhatTheBatchNeedsAndWhatToTry) {
  v1::RunSpec spec = Spec();
  spec.mutable_training()->set_batch_size(256);
  spec.mutable_training()->set_microbatch(256);
  auto trainer = Train({spec});
  // What is mapped now, and little more.
  std::ifstream statm("/proc/self/statm");
  rlim_t pages = 0;
  ASSERT_TRUE(statm >> pages);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  const std::vector<std::string> missing = trainer->MissingLatents({0, 1});
  for (const std::string& key : missing) {
    const auto posterior = trainer->EncodeLatent(key);
    ASSERT_OK(posterior);
    ASSERT_OK(trainer->SetLatent(key, *posterior));
  }
  const rlimit tight{pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + (rlim_t{256} << 20),
                     before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_AS, &tight), 0);
  const auto payload = trainer->ComputeMicrobatches({0, 1});
  ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
  EXPECT_THAT(payload, StatusIs(absl::StatusCode::kResourceExhausted,
                                AllOf(HasSubstr("microbatch 256 needs about"),
                                      HasSubstr("try training.microbatch 128"),
                                      HasSubstr("step 1 of 'zesko': out of memory"))));
  EXPECT_OK(trainer->ComputeMicrobatches({0, 0}));
}

TEST_F(PackTrainerTest, UnusableAssignments_SayWhy) {
  auto trainer = CreatePackTrainer({.blobs = &blobs_});
  ASSERT_OK(trainer);
  const auto refused = [&](auto change, absl::StatusCode code, const char* says) {
    v1::Assignment assignment = AssignmentOf({Spec(), OtherSpec()});
    change(assignment);
    EXPECT_THAT((*trainer)->Prepare(assignment), StatusIs(code, HasSubstr(says)));
    EXPECT_TRUE((*trainer)->ActiveRuns().empty());
  };
  using A = v1::Assignment;
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  refused([](A& a) { a.mutable_runs(0)->mutable_spec()->mutable_model()->add_text_widths(768); },
          kInvalid, "text width 768");
  refused([](A& a) { a.mutable_runs(1)->mutable_spec()->mutable_data()->set_resolution(128); },
          kInvalid, "'zesko' and 'wimbra' differ in data.resolution");
  refused(
      [](A& a) {
        for (auto& run : *a.mutable_runs()) run.mutable_spec()->mutable_data()->set_resolution(72);
      },
      kInvalid, "data.resolution 72 does not fit");
  refused(
      [](A& a) {
        a.mutable_runs(0)->mutable_spec()->mutable_data()->clear_templates();
        a.mutable_runs(0)->mutable_spec()->mutable_data()->add_templates("a photo of a square");
      },
      kInvalid, "zesko");
  refused([](A& a) { a.mutable_profile()->set_instruction_set("M68K"); },
          absl::StatusCode::kFailedPrecondition, "instruction set 'M68K'");
  refused([](A& a) { a.mutable_runs(1)->mutable_spec()->clear_word(); }, kInvalid,
          "it has 0 words");
  refused([](A& a) { a.mutable_runs(0)->mutable_spec()->mutable_word(0)->set_vectors(4000000000); },
          kInvalid, "1 to 77 vectors");
  refused([](A& a) { a.mutable_profile()->set_attention("magic"); }, kInvalid, "'magic'");
  refused(
      [](A& a) {
        for (auto& run : *a.mutable_runs())
          run.mutable_spec()->mutable_model()->set_path("no/such/model");
      },
      absl::StatusCode::kNotFound, "no/such/model");
}

// Every posterior that a run's first `steps` steps asked for.
std::set<std::string> LatentsAskedFor(Trainer& trainer, int steps) {
  std::set<std::string> keys;
  for (int i = 0; i < steps; ++i) {
    for (const std::string& key : trainer.MissingLatents({0, trainer.MicrobatchCount()}))
      keys.insert(key);
    Step(trainer);
  }
  return keys;
}

TEST_F(PackTrainerTest, Posteriors_AreAskedForWhenAStepNeedsThem_AndOnce) {
  auto trainer = Train({Spec()});
  const std::vector<std::string> slice = trainer->MissingLatents({0, 1});
  const std::vector<std::string> first = trainer->MissingLatents({0, trainer->MicrobatchCount()});
  EXPECT_EQ(slice.size(), 2u) << "a microbatch of two samples";
  EXPECT_EQ(first.size(), 4u) << "a batch of four of six pictures";
  EXPECT_EQ(LatentsAskedFor(*trainer, 3).size(), 6u);
  EXPECT_TRUE(trainer->MissingLatents({0, trainer->MicrobatchCount()}).empty());
  // A pack prepared anew on the same model still has them.
  ASSERT_OK(trainer->Prepare(AssignmentOf({Spec(), Spec("again")})));
  EXPECT_TRUE(LatentsAskedFor(*trainer, 3).empty());
}

TEST_F(PackTrainerTest, UnusableRun_IsBlamedAlone_UnusableModelIsNot) {
  auto trainer = CreatePackTrainer({.blobs = &blobs_});
  ASSERT_OK(trainer);
  const auto blamed = [&](auto change) {
    v1::Assignment assignment = AssignmentOf({Spec(), OtherSpec()});
    change(assignment);
    return session::BlamedRun((*trainer)->Prepare(assignment));
  };
  using A = v1::Assignment;
  EXPECT_EQ(blamed([](A& a) {
              a.mutable_runs(0)->mutable_spec()->mutable_model()->add_text_widths(768);
            }),
            "zesko");
  EXPECT_EQ(blamed([](A& a) { a.mutable_runs(1)->mutable_spec()->clear_word(); }), "wimbra");
  EXPECT_EQ(blamed([](A& a) { a.mutable_runs(1)->set_committed_state("garbage"); }), "wimbra");
  EXPECT_EQ(blamed([](A& a) {
              for (auto& run : *a.mutable_runs())
                run.mutable_spec()->mutable_model()->set_path("no/such/model");
            }),
            "")
      << "another worker may have it";
}

TEST_F(PackTrainerTest, OtherModelAtTheSamePath_IsRefusedNamingBoth) {
  auto trainer = CreatePackTrainer({.blobs = &blobs_});
  ASSERT_OK(trainer);
  v1::Assignment assignment = AssignmentOf({Spec()});
  v1::ModelSpec* model = assignment.mutable_runs(0)->mutable_spec()->mutable_model();
  const std::string found = model->fingerprint();
  ASSERT_EQ(found.size(), 64u);
  ASSERT_OK((*trainer)->Prepare(assignment));
  model->set_fingerprint(std::string(64, 'a'));
  const absl::Status refused = (*trainer)->Prepare(assignment);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kInvalidArgument,
                                AllOf(HasSubstr(found), HasSubstr(model->fingerprint()),
                                      HasSubstr(model->path()), HasSubstr("submit it again"))));
  EXPECT_EQ(session::BlamedRun(refused), "") << "it is this machine's copy";
}

TEST_F(PackTrainerTest, Flip_HasPosteriorsOfItsOwn) {
  v1::RunSpec spec = Spec();
  spec.mutable_data()->set_flip(true);
  auto trainer = Train({spec});
  const std::set<std::string> flipped = LatentsAskedFor(*trainer, 20);
  EXPECT_EQ(flipped.size(), 12u);
  auto plain = Train({Spec("plain")});
  for (const std::string& key : LatentsAskedFor(*plain, 3)) EXPECT_TRUE(flipped.contains(key));
}

TEST_F(PackTrainerTest, PictureThatCannotBeUsed_IsBlamedOnItsRun) {
  v1::RunSpec bad = OtherSpec();
  for (v1::Sample& sample : *bad.mutable_data()->mutable_samples())
    sample.set_image_digest(blobs_.Put("no picture").value());
  auto trainer = CreatePackTrainer({.blobs = &blobs_});
  ASSERT_OK(trainer);
  ASSERT_OK((*trainer)->Prepare(AssignmentOf({Spec(), bad})));
  absl::Status status;
  for (const std::string& key : (*trainer)->MissingLatents({0, (*trainer)->MicrobatchCount()})) {
    if (const auto bytes = (*trainer)->EncodeLatent(key); !bytes.ok()) status = bytes.status();
  }
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(".png")));
  EXPECT_EQ(session::BlamedRun(status), "wimbra");
}

TEST_F(PackTrainerTest, ValidationAsksForEveryPicture) {
  v1::RunSpec spec = Spec();
  spec.mutable_validation()->set_every_steps(1);
  auto trainer = Train({spec});
  Step(*trainer);
  EXPECT_EQ(trainer->MissingLatentsOfArtifact(0, 0).size(), 2u)
      << "the step had four of the six pictures";
}

TEST_F(PackTrainerTest, MissingPosterior_IsNamed) {
  auto trainer = CreatePackTrainer({.blobs = &blobs_});
  ASSERT_OK(trainer);
  ASSERT_OK((*trainer)->Prepare(AssignmentOf({Spec()})));
  EXPECT_THAT((*trainer)->ComputeMicrobatches({0, 1}),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr(".png")));
  EXPECT_THAT((*trainer)->SetLatent((*trainer)->MissingLatents({0, 1}).at(0), "short"),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr(".png': 5 bytes")));
  EXPECT_THAT((*trainer)->EncodeLatent("nobody"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("nobody")));
}

TEST_F(PackTrainerTest, Interrupt_AbortsOnceAndThenStepsGoOn) {
  auto trainer = Train({Spec()});
  ASSERT_OK(Compute(*trainer, {0, 2}));
  trainer->Interrupt();
  EXPECT_THAT(trainer->ComputeMicrobatches({0, 2}),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("interrupted")));
  Step(*trainer);
  EXPECT_EQ(trainer->SaveState(0), Alone(Spec(), 1));
}

TEST_F(PackTrainerTest, WrongPayload_ChangesNothing) {
  auto trainer = Train({Spec()});
  const std::string before = trainer->SaveState(0);
  EXPECT_THAT(trainer->ApplyStep("short"),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("5 bytes")));
  EXPECT_EQ(trainer->SaveState(0), before);
}

TEST_F(PackTrainerTest, Artifacts_AreDueEverySoManyStepsAndAfterTheLast) {
  v1::RunSpec spec = Spec();
  spec.mutable_training()->set_steps(5);
  spec.mutable_training()->set_warmup_steps(0);
  spec.mutable_validation()->set_every_steps(2);
  auto trainer = Train({spec});
  std::vector<uint32_t> due;
  for (int i = 0; i < 5; ++i) {
    Step(*trainer);
    due.push_back(trainer->ArtifactCount(0));
  }
  EXPECT_EQ(due, (std::vector<uint32_t>{0, 1, 0, 1, 1}));
  const auto artifact = MakeArtifact(*trainer, 0, 0);
  ASSERT_OK(artifact);
  EXPECT_EQ(artifact->report.kind(), v1::ArtifactReport::KIND_VALIDATION);
  EXPECT_EQ(artifact->report.step(), 5u);
  EXPECT_GT(artifact->report.value(), 0);
  EXPECT_EQ(MakeArtifact(*trainer, 0, 0)->report.value(), artifact->report.value());
  EXPECT_THAT(MakeArtifact(*trainer, 0, 1),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("artifact 1")));
}

TEST_F(PackTrainerTest, Previews_AreThePicturesOfTheirPrompts) {
  v1::RunSpec spec = Spec();
  v1::PreviewSpec* preview = spec.mutable_preview();
  preview->set_every_steps(1);
  preview->add_prompts("a photo of zesko");
  preview->add_prompts("a photo of a square");
  preview->set_sampler("ddim");
  preview->set_steps(3);
  preview->set_cfg(4);
  preview->set_seed(5);
  auto trainer = Train({spec});
  EXPECT_EQ(trainer->ArtifactCount(0), 0u);
  Step(*trainer);
  ASSERT_EQ(trainer->ArtifactCount(0), 2u);
  const std::string state = trainer->SaveState(0);
  const uint64_t progress = trainer->Progress();
  const auto first = MakeArtifact(*trainer, 0, 0);
  EXPECT_GE(trainer->Progress(), progress + 3) << "it moves with every step of the sampler";
  const auto second = MakeArtifact(*trainer, 0, 1);
  ASSERT_OK(first);
  ASSERT_OK(second);
  EXPECT_EQ(first->report.kind(), v1::ArtifactReport::KIND_PREVIEW);
  EXPECT_EQ(second->report.index(), 1u);
  EXPECT_THAT(ReadPngText(first->bytes, "preview")->at(0).second,
              HasSubstr("a photo of zesko\nSteps: 3, Sampler: DDIM"));
  EXPECT_THAT(ReadPngText(second->bytes, "preview")->at(0).second,
              HasSubstr("Seed: 6, Size: 64x64"));
  EXPECT_EQ(trainer->SaveState(0), state);

  Step(*trainer);
  EXPECT_NE(MakeArtifact(*trainer, 0, 0)->bytes, first->bytes) << "the rows have moved";
  EXPECT_EQ(MakeArtifact(*trainer, 0, 1)->bytes, second->bytes)
      << "this prompt does not hold the word";
  preview->set_emphasis("a1111");
  preview->set_prompts(0, "a (photo:1.4) of zesko");
  preview->set_prompts(1, "a photo of (a square:1)");
  auto weighed = Train({spec});
  Step(*weighed);
  EXPECT_NE(MakeArtifact(*weighed, 0, 0)->bytes, first->bytes);
  trainer->Interrupt();
  EXPECT_THAT(MakeArtifact(*trainer, 0, 0),
              StatusIs(absl::StatusCode::kAborted, HasSubstr("interrupted")));
}

}  // namespace
}  // namespace neolog::train
