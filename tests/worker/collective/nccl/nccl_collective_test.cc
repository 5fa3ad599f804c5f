#include "worker/collective/nccl/nccl_collective.h"

#include <spdlog/sinks/base_sink.h>

#include <mutex>

#include "common/base/log.h"
#include "tests/worker/collective/nccl/nccl_bed.h"
#include "worker/collective/in_process.h"

namespace neolog::collective {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::HasSubstr;

class NcclInProcessBed : public nccl::NcclBed {
 public:
  explicit NcclInProcessBed(int workers, const nccl::NcclOptions& options = {}) {
    for (int w = 0; w < workers; ++w)
      Add(std::make_unique<InProcessLinks>(&hub_), "thread:" + WorkerName(w), options);
  }

 private:
  InProcessHub hub_;
};

INSTANTIATE_TEST_SUITE_P(NcclOverThreads, CollectiveConformanceTest,
                         ::testing::Values(BedKind{
                             "threads",
                             [](int n) { return std::make_unique<NcclInProcessBed>(n); }}),
                         [](const auto& param) { return param.param.name; });

/// Catches what is logged, by any thread.
class CapturingSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  std::string text() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return text_;
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    text_.append(message.payload.data(), message.payload.size());
  }
  void flush_() override {}

 private:
  std::string text_;
};

class LogCapture {
 public:
  LogCapture() : before_(spdlog::default_logger()) {
    spdlog::set_default_logger(std::make_shared<spdlog::logger>("test", sink_));
  }
  ~LogCapture() { spdlog::set_default_logger(before_); }
  std::string text() const { return sink_->text(); }

 private:
  const std::shared_ptr<CapturingSink> sink_ = std::make_shared<CapturingSink>();
  const std::shared_ptr<spdlog::logger> before_;
};

class NcclCollectiveTest : public ::testing::Test {
 protected:
  /// Each worker of `bed` gathers `rounds` times; the statuses by worker.
  static std::vector<absl::Status> GatherOnAll(NcclInProcessBed& bed, const v1::Roster& roster,
                                               int rounds) {
    return OnThreads(Range(roster.members_size()), [&, rounds](int worker) -> absl::Status {
      ASSIGN_OR_RETURN(const auto c, bed.factory(worker).Create(roster, IdentityOf(worker)));
      for (int round = 0; round < rounds; ++round)
        RETURN_IF_ERROR(GatherOnce(*c, round, std::vector<size_t>(c->size(), 8)));
      return absl::OkStatus();
    });
  }
};

// A fault of one rank's library ends the operation on every rank, which then know whom to go on
// without; the next roster, with a fresh communicator, works in the same processes.
TEST_F(NcclCollectiveTest, FaultOfOneRank_IsKnownToAll_AndTheNextRosterGoesOn) {
  for (const char* script :
       {"init_error@1", "launch_error@1#2", "system_error@1#2", "cuda_error@1#2"}) {
    SCOPED_TRACE(script);
    NcclInProcessBed bed(3, {.blame_limit = milliseconds(10)});
    bed.library().SetScript(script);
    const auto statuses = GatherOnAll(bed, RosterOf(bed, 1, {0, 1, 2}), 5);
    EXPECT_FALSE(statuses[1].ok());
    for (const int survivor : {0, 2}) {
      EXPECT_THAT(statuses[survivor],
                  testing::StatusIs(absl::StatusCode::kUnavailable, HasSubstr("worker w")));
    }
    // The first to hear it names worker 1; the other may hear of that one's leaving first.
    EXPECT_TRUE(LostRank(statuses[0]) == 1 || LostRank(statuses[2]) == 1);
    bed.library().SetScript("");
    for (const auto& status : GatherOnAll(bed, RosterOf(bed, 2, {0, 1, 2}), 5)) EXPECT_OK(status);
    EXPECT_EQ(bed.library().Live(), 0);
  }
}

TEST_F(NcclCollectiveTest, FaultOfItsOwn_IsItsOwnLoss) {
  NcclInProcessBed bed(2);
  bed.library().SetScript("launch_error@0#0");
  const auto statuses = GatherOnAll(bed, RosterOf(bed, 1, {0, 1}), 1);
  EXPECT_EQ(LostRank(statuses[0]), 0);
  EXPECT_EQ(LostRank(statuses[1]), 0);
  EXPECT_THAT(statuses[0],
              testing::StatusIs(absl::StatusCode::kUnavailable,
                                AllOf(HasSubstr("worker w0"), HasSubstr("cannot go on"),
                                      HasSubstr("internal error"))));
}

// Over a network NCCL notices a lost peer by itself, without naming it; the link does that.
TEST_F(NcclCollectiveTest, RemoteError_IsNamedByTheLink) {
  NcclInProcessBed bed(3, {.blame_limit = std::chrono::seconds(60)});
  const v1::Roster roster = RosterOf(bed, 1, {0, 1, 2});
  bed.library().SetScript("remote_error@0#1");
  Counter first_round;
  const auto statuses = OnThreads({0, 1, 2}, [&](int worker) -> absl::Status {
    ASSIGN_OR_RETURN(auto c, bed.factory(worker).Create(roster, IdentityOf(worker)));
    RETURN_IF_ERROR(GatherOnce(*c, 0, {8, 8, 8}));
    first_round.Add();
    if (worker != 1) return GatherOnce(*c, 1, {8, 8, 8});
    first_round.WaitFor(3);
    c->Abort(Aborted("killed"));
    return absl::OkStatus();
  });
  EXPECT_EQ(LostRank(statuses[0]), 1) << statuses[0];
}

TEST_F(NcclCollectiveTest, OperationThatWaitsLong_IsLoggedWithTheRanksThatDidNotBeginIt) {
  const LogCapture log;
  {
    NcclInProcessBed bed(3, {.stall_limit = milliseconds(1)});
    const v1::Roster roster = RosterOf(bed, 1, {0, 1, 2});
    std::vector<std::unique_ptr<Collective>> members;
    for (int w = 0; w < 3; ++w) {
      auto made = bed.factory(w).Create(roster, IdentityOf(w));
      ASSERT_OK(made);
      members.push_back(std::move(made).value());
    }
    for (const auto& status : OnThreads({0, 1, 2}, [&](int w) {
           return GatherOnce(*members[w], 0, {8, 8, 8});
         })) {
      ASSERT_OK(status);
    }
    std::thread aborter([&] {
      // Of the two that wait, the later one misses only worker 1.
      while (log.text().find("not begun by worker w1 (rank 1 of roster 1);") == std::string::npos)
        std::this_thread::yield();
      members[0]->Abort(Aborted("roster 2 has arrived"));
    });
    const auto statuses = OnThreads({0, 2}, [&](int w) {
      return GatherOnce(*members[w], 1, {8, 9, 10});
    });
    aborter.join();
    EXPECT_THAT(statuses[0], testing::StatusIs(absl::StatusCode::kAborted, "roster 2 has arrived"));
  }
  EXPECT_THAT(log.text(), AllOf(HasSubstr("operation 1 of roster 1 has waited"),
                                HasSubstr("not begun by worker w1 (rank 1 of roster 1);"),
                                HasSubstr("  0 allgather 8 8 8: "),
                                HasSubstr("  1 allgather 8 9 10: waits for ")));
}

TEST_F(NcclCollectiveTest, OperationThatEveryRankBegan_AndThatDoesNotEnd_IsGivenUp) {
  NcclInProcessBed bed(2, {.hang_limit = milliseconds(50)});
  bed.library().SetScript("never_ends@0#0");
  const auto statuses = GatherOnAll(bed, RosterOf(bed, 1, {0, 1}), 1);
  for (const auto& status : statuses) {
    EXPECT_THAT(status, testing::StatusIs(absl::StatusCode::kUnavailable,
                                          HasSubstr("NCCL has not ended it for 50 ms")));
  }
  // Whoever noticed it first is lost, to both, or both are when they noticed it at once.
  for (const auto& status : statuses) EXPECT_GE(LostRank(status), 0);
}

TEST_F(NcclCollectiveTest, MembersThatNcclCannotConnect_AreNamed_WithTheSettingToTry) {
  NcclInProcessBed bed(2, {.hang_limit = milliseconds(50)});
  bed.library().SetScript("init_hang@0");
  for (const auto& status : GatherOnAll(bed, RosterOf(bed, 1, {0, 1}), 1)) {
    EXPECT_THAT(status,
                testing::StatusIs(
                    absl::StatusCode::kUnavailable,
                    AllOf(HasSubstr("NCCL has not connected w0 at "), HasSubstr(" and w1 at "),
                          HasSubstr("NCCL_SOCKET_IFNAME on every host"),
                          HasSubstr("it is not set here"), HasSubstr("--collective peer"))));
  }
}

TEST_F(NcclCollectiveTest, MemberThatExchangesAnotherWay_IsADisagreement) {
  // Rank 0 gathers over its link, rank 1 wants NCCL.
  InProcessHub hub;
  InProcessLinks links0(&hub), links1(&hub);
  const nccl::FakeLibrary library;
  ExchangeFactory exchange(&links0);
  nccl::NcclFactory over_nccl(library.libraries(), &links1, {});
  v1::Roster roster;
  roster.set_version(1);
  for (int w = 0; w < 2; ++w) *roster.add_members()->mutable_worker() = IdentityOf(w);
  const auto statuses = OnThreads({0, 1}, [&](int worker) -> absl::Status {
    CollectiveFactory& factory =
        worker == 0 ? static_cast<CollectiveFactory&>(exchange) : over_nccl;
    ASSIGN_OR_RETURN(const auto c, factory.Create(roster, IdentityOf(worker)));
    return GatherOnce(*c, 0, {8, 8});
  });
  for (const auto& status : statuses)
    EXPECT_THAT(status, testing::StatusIs(absl::StatusCode::kInternal, HasSubstr("disagree")));
}

TEST_F(NcclCollectiveTest, AbortThatDoesNotReturn_EndsTheProcess_NotTheWait) {
  std::atomic<int> stuck{0};
  NcclInProcessBed bed(2, {.communicator = {.abort_limit = milliseconds(20),
                                            .on_stuck = [&](const absl::Status&) { ++stuck; }}});
  const v1::Roster roster = RosterOf(bed, 1, {0, 1});
  bed.library().SetScript("abort_hang@0 never_ends@0#1");
  Counter first_round;
  const auto statuses = OnThreads({0, 1}, [&](int worker) -> absl::Status {
    ASSIGN_OR_RETURN(const auto c, bed.factory(worker).Create(roster, IdentityOf(worker)));
    RETURN_IF_ERROR(GatherOnce(*c, 0, {8, 8}));
    first_round.Add();
    if (worker == 1) {
      first_round.WaitFor(2);
      c->Abort(Aborted("killed"));
      return absl::OkStatus();
    }
    return GatherOnce(*c, 1, {8, 8});
  });
  EXPECT_THAT(statuses[0],
              testing::StatusIs(absl::StatusCode::kUnavailable, HasSubstr("worker w1")));
  EXPECT_EQ(stuck, 1);
  bed.library().SetScript("");
  bed.library().Release();
  while (bed.library().Live() != 0) std::this_thread::yield();
}

}  // namespace
}  // namespace neolog::collective
