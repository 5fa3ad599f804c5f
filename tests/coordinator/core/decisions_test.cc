#include <gtest/gtest.h>

#include <algorithm>

#include "common/base/hash.h"
#include "coordinator/core/commits.h"
#include "coordinator/core/placement.h"
#include "coordinator/core/profile.h"
#include "coordinator/core/registry.h"
#include "coordinator/core/retention.h"
#include "coordinator/core/roster.h"
#include "coordinator/core/submission.h"
#include "tests/coordinator/core/fixtures.h"
#include "tests/support/status_matchers.h"

namespace neolog::coordinator {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::MakeCommit;
using testing::MakeIdentity;
using testing::MakeRegister;
using testing::MakeSpec;
using testing::MakeState;

Worker MakeWorker(const std::string& id, uint64_t incarnation = 1,
                  v1::Register info = MakeRegister()) {
  Worker worker;
  worker.identity = MakeIdentity(id, incarnation);
  worker.info = std::move(info);
  worker.link = 7;
  worker.registered = true;
  worker.lease_ends = absl::Seconds(10);
  return worker;
}

Run MakeRun(const std::string& id, uint64_t order, uint32_t workers = 0,
            v1::RunSpec spec = MakeSpec()) {
  Run run;
  run.id = id;
  run.order = order;
  run.workers = workers;
  run.spec = std::move(spec);
  return run;
}

// --- registry

struct RegistrationCase {
  const char* name;
  std::function<void(ClusterState&)> before;
  uint64_t incarnation;
  std::string version;
  RegistrationDecision::Kind kind;
  v1::Refused::Code code;
  bool replaces;
};

class RegistrationTest : public ::testing::TestWithParam<RegistrationCase> {};

TEST_P(RegistrationTest, DecidesWithReason) {
  const RegistrationCase& c = GetParam();
  ClusterState state;
  c.before(state);
  v1::Register info = MakeRegister();
  if (!c.version.empty()) info.set_version(c.version);
  const RegistrationDecision decision =
      DecideRegistration(state, MakeIdentity("w0", c.incarnation), info);
  EXPECT_EQ(decision.kind, c.kind) << decision.reason;
  EXPECT_EQ(decision.refusal.code(), c.code);
  EXPECT_EQ(decision.replaces_earlier, c.replaces);
  EXPECT_FALSE(decision.reason.empty());
}

void Nobody(ClusterState&) {}
void Live(ClusterState& state) { state.workers["w0"] = MakeWorker("w0", 1); }
void Silent(ClusterState& state) {
  Live(state);
  state.workers["w0"].link = 0;
}
void Lost(ClusterState& state) {
  Live(state);
  state.workers["w0"].lost = true;
}

using Kind = RegistrationDecision::Kind;
INSTANTIATE_TEST_SUITE_P(
    Registry, RegistrationTest,
    ::testing::Values(RegistrationCase{"Unknown", Nobody, 1, "", Kind::kNew,
                                       v1::Refused::CODE_UNSPECIFIED, false},
                      RegistrationCase{"OtherPatchVersion", Nobody, 1, "0.1.99", Kind::kNew,
                                       v1::Refused::CODE_UNSPECIFIED, false},
                      RegistrationCase{"OtherMinorVersion", Nobody, 1, "0.2.0", Kind::kRefuse,
                                       v1::Refused::CODE_VERSION, false},
                      RegistrationCase{"GarbageVersion", Nobody, 1, "x", Kind::kRefuse,
                                       v1::Refused::CODE_VERSION, false},
                      RegistrationCase{"SameIncarnation", Live, 1, "", Kind::kReconnect,
                                       v1::Refused::CODE_UNSPECIFIED, false},
                      RegistrationCase{"OtherIncarnationOfLive", Live, 2, "", Kind::kRefuse,
                                       v1::Refused::CODE_DUPLICATE_ID, false},
                      RegistrationCase{"OtherIncarnationAfterStreamClosed", Silent, 2, "",
                                       Kind::kNew, v1::Refused::CODE_UNSPECIFIED, true},
                      RegistrationCase{"LostIncarnation", Lost, 1, "", Kind::kRefuse,
                                       v1::Refused::CODE_STALE_INCARNATION, false},
                      RegistrationCase{"NewIncarnationAfterLoss", Lost, 2, "", Kind::kNew,
                                       v1::Refused::CODE_UNSPECIFIED, false}),
    [](const auto& info) { return info.param.name; });

TEST(Registry, Lease_EndsAtItsTimeAndNotBefore) {
  ClusterState state;
  state.workers["w0"] = MakeWorker("w0");
  EXPECT_THAT(ExpiredWorkers(state, absl::Seconds(10) - absl::Nanoseconds(1)), IsEmpty());
  const auto losses = ExpiredWorkers(state, absl::Seconds(10));
  ASSERT_EQ(losses.size(), 1u);
  EXPECT_THAT(losses[0].reason, HasSubstr("no heartbeat for 10.00 s"));
}

// --- roster

TEST(Roster, Change_KeepsSurvivorsOrderAndAppendsNewcomers) {
  std::vector<v1::RosterMember> members;
  for (const char* id : {"c", "a", "d", "b"}) members.push_back(MemberOf(MakeWorker(id)));
  const v1::Roster first = FirstRoster("team-1", members, "formed");
  EXPECT_EQ(first.version(), 1u);
  const v1::Roster next =
      NextRoster(first, {"a"}, {MemberOf(MakeWorker("a", 2)), MemberOf(MakeWorker("0"))}, "why");
  EXPECT_EQ(next.version(), 2u);
  EXPECT_EQ(next.reason(), "why");
  std::vector<std::string> order;
  for (const auto& member : next.members()) order.push_back(member.worker().worker_id());
  EXPECT_THAT(order, ElementsAre("c", "d", "b", "a", "0"));
}

TEST(Roster, Collective_IsNcclWhenEveryMemberHasTheSame) {
  struct Case {
    std::vector<const char*> nccl;  // by member
    const char* collective;
    const char* reason;
  };
  for (const Case& c : {
           Case{{"", ""}, "peer", "why"},
           Case{{"2.28.9"}, "peer", "why"},  // nobody to gather from
           Case{{"2.28.9", "2.28.9"}, "nccl", "why; gathers over NCCL 2.28.9"},
           Case{
               {"2.28.9", "", "2.28.9"}, "peer", "why; gathers over peers, since 'w1' has no NCCL"},
           Case{{"2.28.9", "2.27.3"},
                "peer",
                "why; gathers over peers, since 'w0' has NCCL 2.28.9 and 'w1' NCCL 2.27.3"},
       }) {
    std::vector<v1::RosterMember> members;
    for (const char* nccl : c.nccl) {
      members.push_back(MemberOf(MakeWorker("w" + std::to_string(members.size()))));
      members.back().set_nccl(nccl);
    }
    const v1::Roster roster = FirstRoster("team-1", members, "why");
    EXPECT_EQ(roster.collective(), c.collective);
    EXPECT_EQ(roster.reason(), c.reason);
  }
}

TEST(Roster, Collective_IsDecidedAnewWithEveryChange) {
  std::vector<v1::RosterMember> members;
  for (const char* id : {"w0", "w1", "w2"}) {
    members.push_back(MemberOf(MakeWorker(id)));
    if (members.size() < 3) members.back().set_nccl("2.28.9");
  }
  const v1::Roster mixed = FirstRoster("team-1", members, "formed");
  EXPECT_EQ(mixed.collective(), "peer");
  const v1::Roster two = NextRoster(mixed, {"w2"}, {}, "w2 was lost");
  EXPECT_EQ(two.collective(), "nccl");
  EXPECT_EQ(NextRoster(two, {"w1"}, {}, "w1 was lost").collective(), "peer");
}

// --- profile

TEST(Profile, Mismatch_NamesTheFieldAndWhatToDo) {
  const v1::NumericProfile profile = ResolveProfile(MakeSpec(), MakeRegister().capabilities());
  EXPECT_EQ(WhyNot(profile, MakeRegister().capabilities()), "");
  EXPECT_THAT(WhyNot(profile, MakeRegister(1, "AVX2").capabilities()),
              HasSubstr("instruction set is 'AVX2', the run is bound to 'AVX512'"));
  EXPECT_THAT(WhyNot(profile, MakeRegister(2).capabilities()),
              HasSubstr("start it with --threads 1"));
  v1::Register other = MakeRegister();
  other.mutable_capabilities()->set_torch_build("2.12.0+cpu");
  EXPECT_THAT(WhyNot(profile, other.capabilities()), HasSubstr("libtorch build"));
  other = MakeRegister();
  other.mutable_capabilities()->clear_precisions();
  EXPECT_THAT(WhyNot(profile, other.capabilities()), HasSubstr("does not compute in fp32"));
  other = MakeRegister();
  other.mutable_capabilities()->set_device("NVIDIA H100");
  EXPECT_THAT(WhyNot(MakeRun("r", 1), other.capabilities()), HasSubstr("the run asks for 'cpu'"));
}

TEST(Profile, FastReduce_TakesWorkersOfEveryKind_ThatHaveThreadsAndPrecision) {
  v1::RunSpec spec = MakeSpec();
  spec.mutable_training()->set_reduce("fast");
  const v1::NumericProfile profile = ResolveProfile(spec, MakeRegister().capabilities());
  EXPECT_TRUE(SameProfile(profile, ResolveProfile(spec, MakeRegister(1, "AVX2").capabilities())));
  EXPECT_EQ(WhyNot(profile, MakeRegister(1, "AVX2").capabilities()), "");
  EXPECT_THAT(WhyNot(profile, MakeRegister(2).capabilities()),
              HasSubstr("start it with --threads 1"));
  const v1::NumericProfile ordered = ResolveProfile(MakeSpec(), MakeRegister().capabilities());
  EXPECT_THAT(WhyNot(ordered, MakeRegister(1, "AVX2").capabilities()),
              HasSubstr("training.reduce: fast would take both"));
}

// --- placement

class PlacementTest : public ::testing::Test {
 protected:
  void AddWorker(const std::string& id, absl::Duration registered_at = absl::ZeroDuration(),
                 uint32_t threads = 1) {
    state_.workers[id] = MakeWorker(id, 1, MakeRegister(threads));
    state_.workers[id].registered_at = registered_at;
  }
  void AddRun(const std::string& id, uint32_t workers = 0, v1::RunSpec spec = MakeSpec()) {
    state_.runs[id] = MakeRun(id, ++order_, workers, std::move(spec));
  }
  PlacementDecision PlaceAt(absl::Duration now) { return Place(options_, state_, now); }

  CoreOptions options_;
  ClusterState state_;
  uint64_t order_ = 0;
};

TEST_F(PlacementTest, NoWorkers_RunWaitsWithReason) {
  AddRun("r1");
  const auto decision = PlaceAt(absl::Seconds(10));
  EXPECT_THAT(decision.teams, IsEmpty());
  ASSERT_EQ(decision.waiting.size(), 1u);
  EXPECT_EQ(decision.waiting[0].reason, "waits for an idle worker");
}

TEST_F(PlacementTest, WorkersZero_WaitsUntilSettledThenTakesAll) {
  AddWorker("a");
  AddWorker("b", absl::Milliseconds(300));
  AddRun("r1");
  EXPECT_THAT(PlaceAt(absl::Milliseconds(700)).teams, IsEmpty());
  const auto decision = PlaceAt(absl::Milliseconds(800));
  ASSERT_EQ(decision.teams.size(), 1u);
  EXPECT_THAT(decision.teams[0].worker_ids, ElementsAre("a", "b"));
}

TEST_F(PlacementTest, WorkersN_StartsAtOnceWithEnoughAndAfterSettlingWithFewer) {
  AddWorker("a");
  AddRun("r1", 2);
  EXPECT_THAT(PlaceAt(absl::Milliseconds(10)).teams, IsEmpty());
  EXPECT_EQ(PlaceAt(absl::Milliseconds(500)).teams.size(), 1u);
  AddWorker("b", absl::Milliseconds(10));
  AddWorker("c", absl::Milliseconds(10));
  const auto decision = PlaceAt(absl::Milliseconds(10));
  ASSERT_EQ(decision.teams.size(), 1u);
  EXPECT_THAT(decision.teams[0].worker_ids, ElementsAre("a", "b"));
}

TEST_F(PlacementTest, CompatibleQueuedRuns_ShareAPack) {
  AddWorker("a");
  AddRun("r2");
  AddRun("r1");
  v1::RunSpec other_word = MakeSpec();
  other_word.mutable_word(0)->set_vectors(3);
  other_word.mutable_training()->set_learning_rate("0.1");
  AddRun("r3", 0, other_word);
  v1::RunSpec other_model = MakeSpec();
  other_model.mutable_model()->set_fingerprint(std::string(64, 'b'));
  AddRun("r4", 0, other_model);
  const auto decision = PlaceAt(absl::Seconds(10));
  ASSERT_EQ(decision.teams.size(), 1u);
  EXPECT_THAT(decision.teams[0].run_ids, ElementsAre("r2", "r1", "r3")) << "in order of submission";
  ASSERT_EQ(decision.waiting.size(), 1u);
  EXPECT_EQ(decision.waiting[0].run_id, "r4");
}

TEST_F(PlacementTest, RunsThatAWorkerWouldNotTrainTogether_AreNotCompatible) {
  using Spec = v1::RunSpec;
  const auto differs = [](void (*change)(Spec&)) {
    coordinator::Run a = MakeRun("a", 1), b = MakeRun("b", 1);
    change(b.spec);
    return !Compatible(a, b);
  };
  EXPECT_TRUE(differs([](Spec& s) { s.mutable_resources()->set_cuda_graph("on"); }));
  EXPECT_FALSE(differs([](Spec& s) { s.mutable_resources()->set_cuda_graph("off"); }));
  EXPECT_TRUE(differs([](Spec& s) { s.mutable_model()->set_allow_slow_attention(true); }));
  EXPECT_TRUE(differs([](Spec& s) { s.mutable_training()->set_reduce("fast"); }));
}

TEST_F(PlacementTest, FastTeam_GrowsByWorkersOfItsKindOfDeviceOnly) {
  v1::RunSpec fast = MakeSpec();
  fast.mutable_training()->set_reduce("fast");
  AddWorker("a");
  AddRun("r1", 0, fast);
  const auto placed = PlaceAt(absl::Seconds(10));
  ASSERT_EQ(placed.teams.size(), 1u);
  Team& team = state_.teams["team-1"];
  team.roster = FirstRoster("team-1", {MemberOf(state_.workers.at("a"))}, "formed");
  team.profile = placed.teams[0].profile;
  team.run_ids = {"r1"};
  coordinator::Run& run = state_.runs.at("r1");
  run.profile = team.profile;
  run.team_id = "team-1";
  run.in_team = true;
  run.state = v1::RUN_STATE_RUNNING;
  AddWorker("b");
  state_.workers["b"].info.mutable_capabilities()->set_instruction_set("AVX2");
  AddWorker("gpu");
  state_.workers["gpu"].info.mutable_capabilities()->set_device("NVIDIA H100");
  const auto decision = PlaceAt(absl::Seconds(20));
  ASSERT_EQ(decision.growths.size(), 1u);
  EXPECT_THAT(decision.growths[0].worker_ids, ElementsAre("b"));
}

TEST_F(PlacementTest, SeveralTeamsFit_RunsAreDealtOverThem) {
  for (const char* id : {"a", "b", "c", "d"}) AddWorker(id);
  for (const char* id : {"r1", "r2", "r3"}) AddRun(id, 2);
  const auto decision = PlaceAt(absl::Seconds(10));
  ASSERT_EQ(decision.teams.size(), 2u);
  EXPECT_THAT(decision.teams[0].run_ids, ElementsAre("r1", "r3"));
  EXPECT_THAT(decision.teams[0].worker_ids, ElementsAre("a", "b"));
  EXPECT_THAT(decision.teams[1].run_ids, ElementsAre("r2"));
}

TEST_F(PlacementTest, PackLimit_LeavesTheRestQueued) {
  options_.max_pack_runs = 2;
  AddWorker("a");
  for (const char* id : {"r1", "r2", "r3"}) AddRun(id);
  const auto decision = PlaceAt(absl::Seconds(10));
  ASSERT_EQ(decision.teams.size(), 1u);
  EXPECT_THAT(decision.teams[0].run_ids, ElementsAre("r1", "r2"));
  ASSERT_EQ(decision.waiting.size(), 1u);
}

TEST_F(PlacementTest, WorkerOfAnotherProfile_IsLeftOutWithReason) {
  AddWorker("a", absl::ZeroDuration(), 2);
  AddRun("r1");
  const auto decision = PlaceAt(absl::Seconds(10));
  EXPECT_THAT(decision.teams, IsEmpty());
  ASSERT_EQ(decision.waiting.size(), 1u);
  EXPECT_THAT(decision.waiting[0].reason,
              AllOf(HasSubstr("'a' does not fit"), HasSubstr("--threads 1")));
}

TEST_F(PlacementTest, MixedInstructionSets_TheLargestGroupTrains) {
  AddWorker("a");
  for (const char* id : {"b", "c"}) {
    AddWorker(id);
    state_.workers[id].info.mutable_capabilities()->set_instruction_set("AVX2");
  }
  AddRun("r1");
  const auto decision = PlaceAt(absl::Seconds(10));
  ASSERT_EQ(decision.teams.size(), 1u);
  EXPECT_THAT(decision.teams[0].worker_ids, ElementsAre("b", "c"));
  EXPECT_EQ(decision.teams[0].profile.instruction_set(), "AVX2");
}

// --- commits

class CommitTest : public ::testing::Test {
 protected:
  CommitTest() {
    Team& team = state_.teams["team-1"];
    team.roster =
        FirstRoster("team-1", {MemberOf(MakeWorker("w0")), MemberOf(MakeWorker("w1"))}, "formed");
    team.roster.set_version(3);
    team.run_ids = {"r1"};
    coordinator::Run& run = state_.runs["r1"];
    run = MakeRun("r1", 1);
    run.team_id = "team-1";
    run.in_team = true;
    run.state = v1::RUN_STATE_RUNNING;
    for (uint64_t step = 1; step <= 10; ++step)
      run.steps.push_back({0, 0, 0, Hash64(MakeState(step))});
  }
  CommitDecision Decide(const v1::CommitReport& report, const std::string& worker = "w0",
                        uint64_t incarnation = 1) {
    return DecideCommit(state_, MakeIdentity(worker, incarnation), report);
  }
  ClusterState state_;
};

TEST_F(CommitTest, NextSteps_AreCommitted) {
  const auto decision = Decide(MakeCommit("team-1", 3, "r1", 11, 15));
  EXPECT_EQ(decision.kind, CommitDecision::Kind::kCommit) << decision.reason;
  EXPECT_EQ(decision.first_new, 0);
}

TEST_F(CommitTest, Overlap_SkipsWhatIsCommitted) {
  const auto decision = Decide(MakeCommit("team-1", 3, "r1", 8, 12));
  EXPECT_EQ(decision.kind, CommitDecision::Kind::kCommit) << decision.reason;
  EXPECT_EQ(decision.first_new, 3);
}

TEST_F(CommitTest, Repeated_IsKnown) {
  EXPECT_EQ(Decide(MakeCommit("team-1", 3, "r1", 8, 10)).kind, CommitDecision::Kind::kKnown);
}

TEST_F(CommitTest, Gap_IsNotCommitted) {
  EXPECT_EQ(Decide(MakeCommit("team-1", 3, "r1", 12, 13)).kind, CommitDecision::Kind::kGap);
}

TEST_F(CommitTest, OtherHashOfACommittedStep_Diverges) {
  const auto decision = Decide(MakeCommit("team-1", 3, "r1", 9, 12, /*flavour=*/1));
  EXPECT_EQ(decision.kind, CommitDecision::Kind::kDiverged);
  EXPECT_EQ(decision.step, 9u);
  EXPECT_THAT(decision.reason, HasSubstr("on 'w0'"));
}

TEST_F(CommitTest, StateThatDoesNotFitItsHash_Diverges) {
  v1::CommitReport report = MakeCommit("team-1", 3, "r1", 11, 12);
  report.set_state(MakeState(12, 1));
  EXPECT_EQ(Decide(report).kind, CommitDecision::Kind::kDiverged);
  report = MakeCommit("team-1", 3, "r1", 11, 12);
  report.set_state(MakeState(11));
  report.mutable_steps(1)->set_state_hash(Hash64(MakeState(11)));
  EXPECT_EQ(Decide(report).kind, CommitDecision::Kind::kDiverged) << "a state of another step";
}

TEST_F(CommitTest, StepsThatAreNotConsecutiveOrTooMany_Diverge) {
  v1::CommitReport report = MakeCommit("team-1", 3, "r1", 11, 13);
  report.mutable_steps(1)->set_step(13);
  EXPECT_EQ(Decide(report).kind, CommitDecision::Kind::kDiverged);
  EXPECT_EQ(Decide(MakeCommit("team-1", 3, "r1", 11, 101)).kind, CommitDecision::Kind::kDiverged);
}

TEST_F(CommitTest, StaleSenderOrRoster_IsRefused) {
  using Kind = CommitDecision::Kind;
  EXPECT_EQ(Decide(MakeCommit("team-1", 2, "r1", 11, 12)).kind, Kind::kStale);
  EXPECT_EQ(Decide(MakeCommit("team-1", 4, "r1", 11, 12)).kind, Kind::kStale);
  EXPECT_EQ(Decide(MakeCommit("team-2", 3, "r1", 11, 12)).kind, Kind::kStale);
  EXPECT_EQ(Decide(MakeCommit("team-1", 3, "r2", 11, 12)).kind, Kind::kStale);
  EXPECT_EQ(Decide(MakeCommit("team-1", 3, "r1", 11, 12), "w0", 2).kind, Kind::kStale);
  EXPECT_EQ(Decide(MakeCommit("team-1", 3, "r1", 11, 12), "w2").kind, Kind::kStale);
}

// --- submission and retention

TEST(Submission, GoodSpec_HasNoProblems) { EXPECT_THAT(ProblemsOf(MakeSpec()), IsEmpty()); }

TEST(Submission, BadSpec_EveryProblemIsListed) {
  v1::RunSpec spec = MakeSpec();
  spec.set_name("a/b");
  spec.mutable_model()->set_precision("fp8");
  spec.mutable_model()->clear_fingerprint();
  spec.mutable_training()->set_steps(0);
  spec.mutable_training()->set_beta1(std::numeric_limits<double>::quiet_NaN());
  spec.mutable_data()->mutable_samples(0)->set_image_digest("nonsense");
  spec.mutable_checkpoint()->clear_log_dir();
  spec.mutable_checkpoint()->set_formats(0, "webui");
  spec.mutable_resources()->set_cuda_graph("on");
  const auto problems = ProblemsOf(spec);
  for (const char* expected :
       {"name:", "model.precision: 'fp8' is not one of fp32, bf16", "model.fingerprint",
        "training.steps: 0 is less than 1", "training.beta1", "image_digest", "checkpoint.log_dir",
        "checkpoint.formats[0]: 'webui'", "resources.cuda_graph: 'on' needs"}) {
    EXPECT_THAT(problems, Contains(HasSubstr(expected)));
  }
  EXPECT_THAT(CheckSpec(spec),
              StatusIs(absl::StatusCode::kInvalidArgument, HasSubstr("9 problems")));
}

TEST(Submission, Formats_FitTheModelAndEachOther) {
  const auto problems = [](std::vector<std::string> formats, int encoders) {
    v1::RunSpec spec = MakeSpec();
    spec.mutable_checkpoint()->clear_formats();
    for (const std::string& format : formats) spec.mutable_checkpoint()->add_formats(format);
    spec.mutable_model()->clear_text_widths();
    for (int i = 0; i < encoders; ++i) spec.mutable_model()->add_text_widths(4);
    return ProblemsOf(spec);
  };
  EXPECT_THAT(problems({"a1111", "png", "diffusers"}, 1), IsEmpty());
  EXPECT_THAT(problems({"kohya"}, 1), IsEmpty());
  EXPECT_THAT(problems({"onetrainer"}, 1), IsEmpty());
  EXPECT_THAT(problems({"onetrainer"}, 2), IsEmpty());
  EXPECT_THAT(problems({"sdxl"}, 2), IsEmpty());
  EXPECT_THAT(problems({"sdxl"}, 1),
              ElementsAre("checkpoint.formats[0]: the format 'sdxl' holds rows for two text "
                          "encoders, these are for one: use a1111, diffusers or kohya"));
  for (const char* format : {"a1111", "png", "diffusers", "kohya"}) {
    EXPECT_THAT(problems({format}, 2), ElementsAre(HasSubstr("these are for 2: use sdxl")));
  }
  EXPECT_THAT(problems({"a1111", "kohya", "diffusers"}, 1),
              ElementsAre(HasSubstr("checkpoint.formats[2]: 'diffusers' would be the same "
                                    ".safetensors file as 'kohya'")));
  EXPECT_THAT(problems({"original"}, 1), Contains(HasSubstr("'original' is not one of a1111")));
}

TEST(Submission, RunIdOrName_ResolvesWhereUnique) {
  ClusterState state;
  for (const char* id : {"zesko-1", "zesko-2", "other-1"}) {
    state.runs[id] = MakeRun(id, 1, 0, MakeSpec(std::string(id).substr(0, 5)));
  }
  EXPECT_EQ(*ResolveRunId(state, "zesko-2"), "zesko-2");
  EXPECT_EQ(*ResolveRunId(state, "other"), "other-1");
  EXPECT_THAT(ResolveRunId(state, "zesko"),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("zesko-1, zesko-2")));
  EXPECT_THAT(ResolveRunId(state, "nope"),
              StatusIs(absl::StatusCode::kNotFound, HasSubstr("there are other-1")));
}

TEST(Retention, Checkpoints_AreMultiplesInTheRangeAndTheLastStep) {
  v1::RunSpec spec = MakeSpec("x", 100);
  spec.mutable_checkpoint()->set_every_steps(10);
  EXPECT_FALSE(IsCheckpoint(spec, 0, 9));
  EXPECT_TRUE(IsCheckpoint(spec, 9, 10));
  EXPECT_TRUE(IsCheckpoint(spec, 9, 14));
  EXPECT_FALSE(IsCheckpoint(spec, 10, 19));
  spec.mutable_checkpoint()->set_every_steps(0);
  EXPECT_FALSE(IsCheckpoint(spec, 9, 99));
  EXPECT_TRUE(IsCheckpoint(spec, 99, 100));
}

}  // namespace
}  // namespace neolog::coordinator
