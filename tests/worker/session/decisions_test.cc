#include "worker/session/decisions.h"

#include <gmock/gmock.h>

#include "tests/support/status_matchers.h"
#include "worker/session/blame.h"
#include "worker/session/gather_header.h"
#include "worker/session/record_book.h"

namespace neolog::session {
namespace {

using ::neolog::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(SliceOfTest, SlicesAreContiguousCompleteAndEven) {
  for (uint32_t count = 0; count < 40; ++count) {
    for (int size = 1; size < 9; ++size) {
      uint32_t next = 0;
      for (int rank = 0; rank < size; ++rank) {
        const MicrobatchRange slice = SliceOf(count, rank, size);
        EXPECT_EQ(slice.first, next);
        EXPECT_LE(slice.count, count / size + 1);
        EXPECT_GE(slice.count, count / size);
        next = slice.first + slice.count;
      }
      EXPECT_EQ(next, count);
    }
  }
}

struct CatchUpCase {
  const char* name;
  std::vector<RunLine> lines;
  int source;
  bool needed;
  std::vector<int> diverged;
  Left left;
  const char* reason;
};

class DecideCatchUpTest : public ::testing::TestWithParam<CatchUpCase> {};

TEST_P(DecideCatchUpTest, TheFurthestStateCounts) {
  const CatchUpDecision decision = DecideCatchUp(GetParam().lines);
  EXPECT_EQ(decision.source, GetParam().source);
  EXPECT_EQ(decision.needed, GetParam().needed);
  EXPECT_EQ(decision.diverged, GetParam().diverged);
  EXPECT_EQ(decision.left, GetParam().left);
  EXPECT_THAT(decision.reason, HasSubstr(GetParam().reason));
}

INSTANTIATE_TEST_SUITE_P(
    Table, DecideCatchUpTest,
    ::testing::Values(
        CatchUpCase{
            "Alone", {{.step = 5, .hash = 9}}, 0, false, {}, Left::kNo, "all ranks are at step 5"},
        CatchUpCase{"AllEqual",
                    {{.step = 5, .hash = 9}, {.step = 5, .hash = 9}},
                    0,
                    false,
                    {},
                    Left::kNo,
                    "all ranks"},
        CatchUpCase{"OneBehind",
                    {{.step = 4, .hash = 1}, {.step = 5, .hash = 9}, {.step = 5, .hash = 9}},
                    1,
                    true,
                    {},
                    Left::kNo,
                    "1 rank(s) take the state after step 5 from rank 1"},
        CatchUpCase{"StepsBehindMayDifferInHash",
                    {{.step = 5, .hash = 9}, {.step = 4, .hash = 1}, {.step = 4, .hash = 2}},
                    0,
                    true,
                    {},
                    Left::kNo,
                    "2 rank(s)"},
        CatchUpCase{"OneKnowsWhyItLeft",
                    {{.step = 5, .hash = 9}, {.step = 5, .hash = 9, .left = Left::kFailed}},
                    1,
                    true,
                    {},
                    Left::kFailed,
                    "from rank 1"},
        CatchUpCase{"LeftAtAnEarlierStepDoesNotCount",
                    {{.step = 6, .hash = 9}, {.step = 5, .hash = 8, .left = Left::kPaused}},
                    0,
                    true,
                    {},
                    Left::kNo,
                    "from rank 0"},
        CatchUpCase{"OddOneOut",
                    {{.step = 5, .hash = 9}, {.step = 5, .hash = 7}, {.step = 5, .hash = 9}},
                    0,
                    false,
                    {1},
                    Left::kDiverged,
                    "rank 1 has another state"},
        CatchUpCase{"OddOneIsTheLowest",
                    {{.step = 5, .hash = 7}, {.step = 5, .hash = 9}, {.step = 5, .hash = 9}},
                    0,
                    false,
                    {0},
                    Left::kDiverged,
                    "rank 0 has another state"}),
    [](const auto& param) { return std::string(param.param.name); });

TEST(DecideReporterTest, LowestConnectedRank_ElseRankZero) {
  EXPECT_EQ(DecideReporter({true, true}).rank, 0);
  EXPECT_EQ(DecideReporter({false, false, true}).rank, 2);
  EXPECT_THAT(DecideReporter({false, true}).reason, HasSubstr("rank 1 is the lowest"));
  EXPECT_EQ(DecideReporter({false, false}).rank, 0);
  EXPECT_THAT(DecideReporter({false}).reason, HasSubstr("when the coordinator is back"));
}

struct ControlCase {
  uint8_t bits;
  bool active;
  Left leave;
  bool commit;
};

TEST(DecideControlTest, StopOutweighsPauseOutweighsCheckpoint) {
  const std::vector<ControlCase> table = {
      {0, true, Left::kNo, false},
      {kControlCheckpoint, true, Left::kNo, true},
      {kControlPause, true, Left::kPaused, true},
      {kControlPause | kControlCheckpoint, true, Left::kPaused, true},
      {kControlStop | kControlPause, true, Left::kStopped, true},
      {kControlStop, false, Left::kNo,
       true},  // its last step was this one: it is complete, not stopped
  };
  for (const ControlCase& c : table) {
    EXPECT_EQ(DecideControl(c.bits, c.active).leave, c.leave) << int{c.bits};
    EXPECT_EQ(DecideControl(c.bits, c.active).commit, c.commit) << int{c.bits};
  }
}

v1::WorkerIdentity Self() {
  v1::WorkerIdentity self;
  self.set_worker_id("w0");
  self.set_incarnation(7);
  return self;
}

v1::Assignment MakeAssignment(const char* team, uint64_t version, std::vector<std::string> runs) {
  v1::Assignment assignment;
  assignment.set_team_id(team);
  assignment.mutable_roster()->set_version(version);
  *assignment.mutable_roster()->add_members()->mutable_worker() = Self();
  for (const std::string& run : runs) assignment.add_runs()->set_run_id(run);
  return assignment;
}

TEST(DecideAssignmentTest, Table) {
  using Kind = AssignmentDecision::Kind;
  const v1::Assignment held = MakeAssignment("t", 3, {"a", "b"});
  EXPECT_EQ(DecideAssignment({}, held, Self()).kind, Kind::kPrepare);
  EXPECT_EQ(DecideAssignment(held, held, Self()).kind, Kind::kIgnore);
  EXPECT_EQ(DecideAssignment(held, MakeAssignment("t", 2, {"a", "b"}), Self()).kind, Kind::kIgnore);
  EXPECT_EQ(DecideAssignment(held, MakeAssignment("t", 4, {"a", "b"}), Self()).kind,
            Kind::kRegroup);
  EXPECT_EQ(DecideAssignment(held, MakeAssignment("t", 4, {"a"}), Self()).kind, Kind::kPrepare);
  EXPECT_EQ(DecideAssignment(held, MakeAssignment("u", 1, {"a", "b"}), Self()).kind,
            Kind::kPrepare);
  EXPECT_EQ(DecideAssignment(held, MakeAssignment("", 0, {}), Self()).kind, Kind::kIdle);
  v1::Assignment other_profile = MakeAssignment("t", 4, {"a", "b"});
  other_profile.mutable_profile()->set_precision("bf16");
  EXPECT_EQ(DecideAssignment(held, other_profile, Self()).kind, Kind::kPrepare);
  v1::Assignment without_us = MakeAssignment("t", 4, {"a", "b"});
  without_us.mutable_roster()->mutable_members(0)->mutable_worker()->set_incarnation(6);
  EXPECT_EQ(DecideAssignment(held, without_us, Self()).kind, Kind::kIdle);
}

TEST(DecideStateTest, CommittedStateIsTakenWhenMemoryIsBehindOrDiffers) {
  v1::RunAssignment assigned;
  assigned.set_committed_step(10);
  assigned.set_committed_hash(99);
  EXPECT_TRUE(DecideState(9, 1, 0, assigned).take_committed);
  EXPECT_FALSE(DecideState(10, 99, 0, assigned).take_committed);
  EXPECT_TRUE(DecideState(10, 98, 0, assigned).take_committed);
  EXPECT_FALSE(DecideState(14, 5, 99, assigned).take_committed);
  EXPECT_FALSE(DecideState(14, 5, 0, assigned).take_committed)
      << "its records begin later: they were acknowledged";
  EXPECT_TRUE(DecideState(14, 5, 98, assigned).take_committed);
  EXPECT_FALSE(DecideState(0, 5, 0, {}).take_committed)
      << "before the first step nothing is committed";
}

TEST(ClassifyTest, EveryKindOfTrouble) {
  EXPECT_EQ(Classify(Aborted("x")), Trouble::kSuperseded);
  EXPECT_EQ(Classify(Unavailable("x")), Trouble::kTryAgain);
  EXPECT_EQ(Classify(InvalidArgument("x")), Trouble::kBadInput);
  EXPECT_EQ(Classify(NotFound("x")), Trouble::kBadInput);
  EXPECT_EQ(Classify(DataLoss("x")), Trouble::kBadInput);
  EXPECT_EQ(Classify(FailedPrecondition("another instruction set")), Trouble::kDevice);
  EXPECT_EQ(Classify(absl::ResourceExhaustedError("x")), Trouble::kDevice);
  EXPECT_EQ(Classify(Internal("x")), Trouble::kDevice);
}

TEST(BlameTest, MarksErrorsAboutInputsOnly) {
  EXPECT_EQ(BlamedRun(BlameRun(DataLoss("bad state"), "r1")), "r1");
  EXPECT_EQ(BlamedRun(Annotate(BlameRun(InvalidArgument("no word"), "r2"), "run 'x'")), "r2");
  EXPECT_EQ(BlamedRun(BlameRun(Internal("out of memory"), "r1")), "") << "this worker's own";
  EXPECT_EQ(BlamedRun(BlameRun(Unavailable("the coordinator is away"), "r1")), "");
  EXPECT_OK(BlameRun(absl::OkStatus(), "r1"));
  EXPECT_EQ(BlamedRun(DataLoss("bad state")), "");
}

TEST(GatherHeaderTest, RoundTrips_AndRefusesWhatIsNotOne) {
  GatherHeader header{.roster_version = 5, .connected = true};
  header.runs.push_back({.step = 3,
                         .hash = 0x1234567890abcdef,
                         .catch_up_bytes = 77,
                         .control = 5,
                         .left = Left::kPaused});
  header.runs.push_back({});
  std::string bytes;
  EncodeGatherHeader(header, bytes);
  ASSERT_EQ(bytes.size(), GatherHeaderSize(2));
  const auto view = std::as_bytes(std::span(bytes));
  ASSERT_OK_AND_ASSIGN(const GatherHeader back, DecodeGatherHeader(view, 2, 5));
  EXPECT_TRUE(back.connected);
  EXPECT_EQ(back.runs[0].hash, 0x1234567890abcdef);
  EXPECT_EQ(back.runs[0].catch_up_bytes, 77U);
  EXPECT_EQ(back.runs[0].control, 5);
  EXPECT_EQ(back.runs[0].left, Left::kPaused);
  EXPECT_THAT(DecodeGatherHeader(view, 2, 6),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("roster 5")));
  EXPECT_THAT(DecodeGatherHeader(view, 1, 5),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("1 runs")));
  EXPECT_THAT(DecodeGatherHeader(view.first(40), 2, 5),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("2 runs")));
  bytes[24 + 25] = 9;
  EXPECT_THAT(DecodeGatherHeader(view, 2, 5),
              StatusIs(absl::StatusCode::kInternal, HasSubstr("unknown reason")));
}

TEST(CatchUpTest, RoundTrips_AndEveryTruncationIsRefused) {
  CatchUp catch_up;
  catch_up.pieces.emplace_back().set_state("early");
  catch_up.pieces.emplace_back().set_state("late");
  catch_up.failure.set_message("why");
  const std::string bytes = EncodeCatchUp(catch_up);
  ASSERT_OK_AND_ASSIGN(const CatchUp back, DecodeCatchUp(bytes));
  EXPECT_EQ(back.pieces.size(), 2U);
  EXPECT_EQ(back.pieces[1].state(), "late");
  EXPECT_EQ(back.failure.message(), "why");
  for (size_t n = 0; n < bytes.size(); ++n) {
    const auto cut = DecodeCatchUp(std::string_view(bytes).substr(0, n));
    // A cut between two blocks leaves a shorter list, which is whole by itself.
    if (cut.ok()) {
      EXPECT_EQ(cut->pieces.size(), 1U) << n;
    }
  }
}

v1::StepRecord Record(uint64_t step) {
  v1::StepRecord record;
  record.set_step(step);
  record.set_state_hash(1000 + step);
  return record;
}

std::vector<std::vector<uint64_t>> StepsOf(const std::vector<v1::CommitReport>& pieces) {
  std::vector<std::vector<uint64_t>> steps;
  for (const auto& piece : pieces) {
    steps.emplace_back();
    for (const auto& record : piece.steps()) steps.back().push_back(record.step());
  }
  return steps;
}

TEST(RecordBookTest, KeepsUntilCommitted_AndCutsBehindKeptStates) {
  RecordBook book;
  book.Reset(4);
  EXPECT_THAT(book.Pieces("now"), IsEmpty());
  for (uint64_t step = 5; step <= 9; ++step) book.Append(Record(step), step == 7 ? "seven" : "");
  const auto pieces = book.Pieces("nine");
  EXPECT_THAT(StepsOf(pieces), ElementsAre(ElementsAre(5, 6, 7), ElementsAre(8, 9)));
  EXPECT_EQ(pieces[0].state(), "seven");
  EXPECT_EQ(pieces[1].state(), "nine");
  EXPECT_EQ(book.HashAfter(6), 1006U);
  EXPECT_EQ(book.HashAfter(4), 0U);
  EXPECT_EQ(book.HashAfter(10), 0U);
  book.OnCommitted(7);
  EXPECT_THAT(StepsOf(book.Pieces("nine")), ElementsAre(ElementsAre(8, 9)));
  book.OnCommitted(6);  // late news
  EXPECT_EQ(book.committed(), 7U);
  book.OnCommitted(9);
  EXPECT_TRUE(book.empty());
}

TEST(RecordBookTest, AnotherRankAdoptsItWhole) {
  RecordBook book;
  book.Reset(4);
  for (uint64_t step = 5; step <= 9; ++step) book.Append(Record(step), step == 7 ? "seven" : "");
  RecordBook other;
  other.Reset(2);
  other.Adopt(9, book.Pieces("nine"));
  EXPECT_EQ(other.committed(), 4U);
  EXPECT_THAT(StepsOf(other.Pieces("nine")), ElementsAre(ElementsAre(5, 6, 7), ElementsAre(8, 9)));
  EXPECT_EQ(other.Pieces("nine")[0].state(), "seven");
  RecordBook nothing_open;
  nothing_open.Adopt(9, {v1::CommitReport()});
  EXPECT_EQ(nothing_open.committed(), 9U);
  EXPECT_TRUE(nothing_open.empty());
}

}  // namespace
}  // namespace neolog::session
