#pragma once

#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "common/base/mutex.h"
#include "tests/support/status_matchers.h"
#include "worker/collective/exchange.h"

// One suite for every Collective: include it in a test that instantiates CollectiveConformanceTest.
namespace neolog::collective {

/// The workers of a test and how they reach each other.
class Bed {
 public:
  virtual ~Bed() = default;
  virtual CollectiveFactory& factory(int worker) = 0;
  virtual std::string address(int worker) = 0;
  /// What else of a worker ends when its process dies, besides its collective.
  virtual void EndProcess(int worker) = 0;
};

/// Workers that are linked and exchange over their links.
class ExchangeBed : public Bed {
 public:
  CollectiveFactory& factory(int worker) override { return *workers_[worker].factory; }
  std::string address(int worker) override { return workers_[worker].address; }
  void EndProcess(int worker) override { workers_[worker] = {}; }

 protected:
  void Add(std::unique_ptr<LinkFactory> links, std::string address) {
    auto factory = std::make_unique<ExchangeFactory>(links.get());
    workers_.push_back({std::move(links), std::move(factory), std::move(address)});
  }

 private:
  struct Worker {
    std::unique_ptr<LinkFactory> links;
    std::unique_ptr<ExchangeFactory> factory;
    std::string address;
  };
  std::vector<Worker> workers_;
};

struct BedKind {
  std::string name;
  std::function<std::unique_ptr<Bed>(int workers)> make;
};

inline std::string WorkerName(int worker) { return "w" + std::to_string(worker); }

inline v1::WorkerIdentity IdentityOf(int worker, uint64_t incarnation = 0) {
  v1::WorkerIdentity identity;
  identity.set_worker_id(WorkerName(worker));
  identity.set_incarnation(incarnation == 0 ? 100 + worker : incarnation);
  return identity;
}

inline v1::Roster RosterOf(Bed& bed, uint64_t version, const std::vector<int>& workers) {
  v1::Roster roster;
  roster.set_team_id("team");
  roster.set_version(version);
  for (const int worker : workers) {
    v1::RosterMember* member = roster.add_members();
    *member->mutable_worker() = IdentityOf(worker);
    member->set_peer_address(bed.address(worker));
  }
  return roster;
}

inline std::vector<int> Range(int n) {
  std::vector<int> all(n);
  std::iota(all.begin(), all.end(), 0);
  return all;
}

/// The bytes that `rank` sends in round `round`.
inline std::vector<std::byte> Pattern(int rank, int round, size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i)
    bytes[i] = static_cast<std::byte>(rank * 31 + round * 7 + i % 251);
  return bytes;
}

/// One gather of `sizes`; checks what came when it was OK.
inline absl::Status GatherOnce(Collective& c, int round, const std::vector<size_t>& sizes) {
  const std::vector<std::byte> send = Pattern(c.rank(), round, sizes[c.rank()]);
  std::vector<std::byte> receive(std::accumulate(sizes.begin(), sizes.end(), size_t{0}));
  const absl::Status status = c.AllGather(send, sizes, receive);
  if (!status.ok()) return status;
  std::vector<std::byte> expected;
  for (int r = 0; r < c.size(); ++r) {
    const auto part = Pattern(r, round, sizes[r]);
    expected.insert(expected.end(), part.begin(), part.end());
  }
  EXPECT_EQ(receive == expected, true) << "rank " << c.rank() << " round " << round;
  return status;
}

/// Runs fn(worker) on a thread each and returns the statuses by worker.
inline std::vector<absl::Status> OnThreads(const std::vector<int>& workers,
                                           const std::function<absl::Status(int)>& fn) {
  std::vector<absl::Status> result(workers.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < workers.size(); ++i) {
    threads.emplace_back([&, i] { result[i] = fn(workers[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  return result;
}

/// A count that threads raise and others wait for.
class Counter {
 public:
  void Add() {
    MutexLock lock(mutex_);
    ++count_;
    changed_.NotifyAll();
  }
  void WaitFor(int n) {
    MutexLock lock(mutex_);
    while (count_ < n) changed_.Wait(mutex_);
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  int count_ GUARDED_BY(mutex_) = 0;
};

class CollectiveConformanceTest : public ::testing::TestWithParam<BedKind> {
 protected:
  std::unique_ptr<Bed> MakeBed(int workers) { return GetParam().make(workers); }
  std::unique_ptr<Collective> MakeMember(Bed& bed, const v1::Roster& roster, int worker) {
    auto made = bed.factory(worker).Create(roster, IdentityOf(worker));
    EXPECT_OK(made);
    return made.ok() ? std::move(made).value() : nullptr;
  }
};

TEST_P(CollectiveConformanceTest,
       AllGather_EveryTeamSizeAndPayload_GivesEveryoneAllPartsInRankOrder) {
  for (int n = 1; n <= 5; ++n) {
    auto bed = MakeBed(n);
    const v1::Roster roster = RosterOf(*bed, 1, Range(n));
    const auto statuses = OnThreads(Range(n), [&](int worker) {
      auto c = MakeMember(*bed, roster, worker);
      EXPECT_EQ(c->rank(), worker);
      EXPECT_EQ(c->size(), n);
      int round = 0;
      for (const size_t size : {size_t{0}, size_t{4}, size_t{100}, size_t{1000}, size_t{100000}}) {
        RETURN_IF_ERROR(GatherOnce(*c, round++, std::vector<size_t>(n, size)));
        std::vector<size_t> unequal(n);
        for (int r = 0; r < n; ++r) unequal[r] = r % 2 == 0 ? size : size / 3;
        RETURN_IF_ERROR(GatherOnce(*c, round++, unequal));
      }
      return absl::OkStatus();
    });
    for (const auto& status : statuses) EXPECT_OK(status);
  }
}

TEST_P(CollectiveConformanceTest, AllReduceSum_AddsInRankOrder) {
  // (1e8 + 1) - 1e8 + ... depends on the order in float: only rank order gives these bits.
  const std::vector<float> parts = {1e8F, 1.0F, -1e8F, 1.0F, 0.1F};
  for (int n = 1; n <= 5; ++n) {
    float expected = parts[0];
    for (int r = 1; r < n; ++r) expected += parts[r];
    auto bed = MakeBed(n);
    const v1::Roster roster = RosterOf(*bed, 1, Range(n));
    const auto statuses = OnThreads(Range(n), [&](int worker) {
      auto c = MakeMember(*bed, roster, worker);
      std::vector<float> values(1000, parts[worker]);
      RETURN_IF_ERROR(c->AllReduceSum(values));
      EXPECT_EQ(values, std::vector<float>(1000, expected)) << n;
      return c->AllReduceSum(std::span<float>());
    });
    for (const auto& status : statuses) EXPECT_OK(status);
  }
}

TEST_P(CollectiveConformanceTest, Broadcast_FromEveryRoot_AlsoWhenTheRootRunsAhead) {
  for (int n = 1; n <= 5; ++n) {
    auto bed = MakeBed(n);
    const v1::Roster roster = RosterOf(*bed, 1, Range(n));
    const auto statuses = OnThreads(Range(n), [&](int worker) {
      auto c = MakeMember(*bed, roster, worker);
      for (int round = 0; round < 20; ++round) {
        const int root =
            round / 10 % n;  // ten in a row from one root: it does not wait for the others
        std::vector<std::byte> buffer = Pattern(worker, round, 1000);
        RETURN_IF_ERROR(c->Broadcast(root, buffer));
        EXPECT_EQ(buffer == Pattern(root, round, 1000), true);
      }
      return absl::OkStatus();
    });
    for (const auto& status : statuses) EXPECT_OK(status);
  }
}

TEST_P(CollectiveConformanceTest,
       AbortMidOperation_ReturnsAtOnceWithTheFirstReason_AndPeersLearnIt) {
  auto bed = MakeBed(3);
  const v1::Roster roster = RosterOf(*bed, 1, {0, 1, 2});
  std::vector<std::unique_ptr<Collective>> members;
  for (int w = 0; w < 3; ++w) members.push_back(MakeMember(*bed, roster, w));
  Counter first_round;
  std::chrono::steady_clock::time_point aborted;
  std::thread aborter([&] {
    first_round.WaitFor(2);
    aborted = std::chrono::steady_clock::now();
    members[0]->Abort(Aborted("roster 2 has arrived"));
    members[0]->Abort(Aborted("something else"));
  });
  // Worker 2 never joins the second round, so the others block in it.
  const auto statuses = OnThreads({0, 1, 2}, [&](int worker) {
    RETURN_IF_ERROR(GatherOnce(*members[worker], 0, {8, 8, 8}));
    if (worker == 2) return absl::OkStatus();
    first_round.Add();
    return GatherOnce(*members[worker], 1, {8, 8, 8});
  });
  aborter.join();
  const auto took = std::chrono::steady_clock::now() - aborted;
  EXPECT_THAT(statuses[0], testing::StatusIs(absl::StatusCode::kAborted,
                                             ::testing::HasSubstr("roster 2 has arrived")));
  EXPECT_THAT(statuses[1],
              testing::StatusIs(absl::StatusCode::kUnavailable, ::testing::HasSubstr("worker w0")));
  // Milliseconds in fact; the bound only tells it from a timeout.
  EXPECT_LT(took, std::chrono::seconds(2));
  // Dead for good, with the first reason.
  EXPECT_THAT(
      GatherOnce(*members[0], 2, {8, 8, 8}),
      testing::StatusIs(absl::StatusCode::kAborted, ::testing::HasSubstr("roster 2 has arrived")));
  float value = 1;
  EXPECT_THAT(members[1]->AllReduceSum({&value, 1}),
              testing::StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
  std::byte b{};
  EXPECT_THAT(members[0]->Broadcast(0, {&b, 1}),
              testing::StatusIs(absl::StatusCode::kAborted, ::testing::_));
}

TEST_P(CollectiveConformanceTest, AbortBeforeAnyPeerExists_Returns) {
  auto bed = MakeBed(2);
  auto c = MakeMember(*bed, RosterOf(*bed, 1, {0, 1}), 0);
  std::thread aborter([&] { c->Abort(Aborted("enough")); });
  EXPECT_THAT(GatherOnce(*c, 0, {1, 1}),
              testing::StatusIs(absl::StatusCode::kAborted, ::testing::HasSubstr("enough")));
  aborter.join();
}

TEST_P(CollectiveConformanceTest,
       PeerDiesMidOperation_SurvivorsAreUnavailableNamingIt_ThenGoOnWithoutIt) {
  auto bed = MakeBed(3);
  const v1::Roster roster = RosterOf(*bed, 1, {0, 1, 2});
  Counter first_round;
  const auto statuses = OnThreads({0, 1, 2}, [&](int worker) {
    auto c = MakeMember(*bed, roster, worker);
    RETURN_IF_ERROR(GatherOnce(*c, 0, {1000, 1000, 1000}));
    first_round.Add();
    if (worker == 1) {
      first_round.WaitFor(3);
      c->Abort(Aborted("killed"));
      c.reset();
      bed->EndProcess(1);
      return absl::OkStatus();
    }
    const absl::Status lost = GatherOnce(*c, 1, {1000, 1000, 1000});
    EXPECT_THAT(lost, testing::StatusIs(absl::StatusCode::kUnavailable, ::testing::_));
    c->Abort(lost);
    c.reset();
    auto next = MakeMember(*bed, RosterOf(*bed, 2, {0, 2}), worker);
    for (int round = 0; round < 10; ++round) RETURN_IF_ERROR(GatherOnce(*next, round, {77, 77}));
    return lost;
  });
  EXPECT_OK(statuses[1]);
  // A survivor hears of worker 1 itself or, when the other survivor was quicker, of that one's
  // leaving.
  for (const int w : {0, 2}) {
    EXPECT_THAT(statuses[w],
                testing::StatusIs(absl::StatusCode::kUnavailable, ::testing::HasSubstr("worker w")))
        << w;
  }
  EXPECT_TRUE(statuses[0].message().find("worker w1") != absl::string_view::npos ||
              statuses[2].message().find("worker w1") != absl::string_view::npos);
}

TEST_P(CollectiveConformanceTest, PeerNeverCameAndIsDead_IsUnavailable) {
  auto bed = MakeBed(2);
  const v1::Roster roster = RosterOf(*bed, 1, {0, 1});
  auto dead = MakeMember(*bed, roster, 1);
  auto c = MakeMember(*bed, roster, 0);
  dead->Abort(Aborted("killed"));
  dead.reset();
  bed->EndProcess(1);
  EXPECT_THAT(GatherOnce(*c, 0, {1, 1}),
              testing::StatusIs(absl::StatusCode::kUnavailable, ::testing::HasSubstr("worker w1")));
}

TEST_P(CollectiveConformanceTest, LastPartOfAPeerThatLeftInGoodOrder_IsStillRead) {
  for (int i = 0; i < 20; ++i) {
    auto bed = MakeBed(2);
    const v1::Roster roster = RosterOf(*bed, 1, {0, 1});
    const auto statuses = OnThreads({0, 1}, [&](int worker) {
      auto c = MakeMember(*bed, roster, worker);
      RETURN_IF_ERROR(GatherOnce(*c, 0, {100, 100}));
      std::vector<std::byte> buffer = Pattern(worker, 1, 100000);
      RETURN_IF_ERROR(c->Broadcast(0, buffer));  // the root leaves without waiting for anything
      EXPECT_EQ(buffer == Pattern(0, 1, 100000), true);
      return absl::OkStatus();
    });
    EXPECT_OK(statuses[0]);
    EXPECT_OK(statuses[1]);
  }
}

TEST_P(CollectiveConformanceTest, EarlyMember_WaitsForTheOthersToFollow) {
  auto bed = MakeBed(3);
  const v1::Roster first = RosterOf(*bed, 1, {0, 1, 2});
  const v1::Roster second = RosterOf(*bed, 2, {2, 0, 1});
  Counter early;
  const auto statuses = OnThreads({0, 1, 2}, [&](int worker) {
    auto c = MakeMember(*bed, first, worker);
    RETURN_IF_ERROR(GatherOnce(*c, 0, {5, 5, 5}));
    c.reset();
    if (worker != 2) early.WaitFor(1);  // worker 2 is on roster 2 before the others are
    c = MakeMember(*bed, second, worker);
    early.Add();
    for (int round = 1; round < 5; ++round) RETURN_IF_ERROR(GatherOnce(*c, round, {5, 50, 500}));
    return absl::OkStatus();
  });
  for (const auto& status : statuses) EXPECT_OK(status);
}

TEST_P(CollectiveConformanceTest, MemberOfAnOlderRoster_IsRefused) {
  auto bed = MakeBed(2);
  auto newer = MakeMember(*bed, RosterOf(*bed, 2, {0, 1}), 0);
  auto stale = MakeMember(*bed, RosterOf(*bed, 1, {0, 1}), 1);
  EXPECT_THAT(
      GatherOnce(*stale, 0, {1, 1}),
      testing::StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("roster 2")));
}

TEST_P(CollectiveConformanceTest, StaleIncarnation_IsRefused) {
  auto bed = MakeBed(2);
  auto current = MakeMember(*bed, RosterOf(*bed, 1, {0, 1}), 0);
  v1::Roster other = RosterOf(*bed, 1, {0, 1});
  other.mutable_members(1)->mutable_worker()->set_incarnation(999);
  ASSERT_OK_AND_ASSIGN(auto stale, bed->factory(1).Create(other, IdentityOf(1, 999)));
  EXPECT_THAT(GatherOnce(*stale, 0, {1, 1}),
              testing::StatusIs(absl::StatusCode::kFailedPrecondition,
                                ::testing::HasSubstr("incarnation")));
}

TEST_P(CollectiveConformanceTest, Create_NotAMemberOrSameVersionAgain_IsRefused) {
  auto bed = MakeBed(2);
  const v1::Roster roster = RosterOf(*bed, 1, {0});
  EXPECT_THAT(bed->factory(1).Create(roster, IdentityOf(1)),
              testing::StatusIs(absl::StatusCode::kFailedPrecondition,
                                ::testing::HasSubstr("not a member")));
  EXPECT_THAT(bed->factory(0).Create(roster, IdentityOf(0, 5)),
              testing::StatusIs(absl::StatusCode::kFailedPrecondition,
                                ::testing::HasSubstr("not a member")));
  auto c = MakeMember(*bed, roster, 0);
  EXPECT_OK(GatherOnce(*c, 0, {3}));
  EXPECT_THAT(
      bed->factory(0).Create(roster, IdentityOf(0)),
      testing::StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("not newer")));
}

TEST_P(CollectiveConformanceTest, DifferentOperationsOrSizes_AreInternalOnEveryRank) {
  for (const bool sizes_differ : {false, true}) {
    auto bed = MakeBed(3);
    const v1::Roster roster = RosterOf(*bed, 1, {0, 1, 2});
    const auto statuses = OnThreads({0, 1, 2}, [&](int worker) {
      auto c = MakeMember(*bed, roster, worker);
      RETURN_IF_ERROR(GatherOnce(*c, 0, {4, 4, 4}));
      if (worker != 1) return GatherOnce(*c, 1, {4, 4, 4});
      if (sizes_differ) return GatherOnce(*c, 1, {8, 8, 8});
      float value = 1;
      return c->AllReduceSum({&value, 1});
    });
    for (const auto& status : statuses)
      EXPECT_THAT(status,
                  testing::StatusIs(absl::StatusCode::kInternal, ::testing::HasSubstr("disagree")));
  }
}

TEST_P(CollectiveConformanceTest, SizesThatDoNotFitTheBuffers_AreInternal) {
  auto bed = MakeBed(1);
  auto c = MakeMember(*bed, RosterOf(*bed, 1, {0}), 0);
  std::vector<std::byte> four(4), five(5);
  EXPECT_THAT(c->AllGather(four, std::vector<size_t>{4}, five),
              testing::StatusIs(absl::StatusCode::kInternal, ::testing::HasSubstr("do not fit")));
}

inline size_t EntriesOf(const char* folder) {
  return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder), {}));
}

// A regroup is what a team does when a member is lost: everyone's collective ends while others are in
// an operation, and the next roster's begins.
TEST_P(CollectiveConformanceTest, ThousandCyclesOfAbortAndRegroup_LeaveNoThreadAndNoFile) {
  constexpr int kFirst = 20, kCycles = 1000;
  size_t threads = 0, files = 0;
  auto bed = MakeBed(2);
  for (int cycle = 0; cycle < kFirst + kCycles; ++cycle) {
    // The first cycles start the transport's own threads, which stay.
    if (cycle == kFirst) {
      threads = EntriesOf("/proc/self/task");
      files = EntriesOf("/proc/self/fd");
    }
    const v1::Roster roster = RosterOf(*bed, cycle + 1, {0, 1});
    std::vector<std::unique_ptr<Collective>> members;
    for (int w = 0; w < 2; ++w) members.push_back(MakeMember(*bed, roster, w));
    const int aborts = cycle % 2;
    const std::vector<absl::Status> ends = OnThreads({0, 1}, [&](int w) -> absl::Status {
      RETURN_IF_ERROR(GatherOnce(*members[w], cycle, {100, 200}));
      if (w == aborts) {
        members[w]->Abort(Aborted("cycle"));
        return absl::OkStatus();
      }
      return GatherOnce(*members[w], cycle + 1, {100, 200});
    });
    ASSERT_OK(ends[aborts]);
    ASSERT_FALSE(ends[1 - aborts].ok());
  }
  // Transports close their files in the background, with the bed's own threads. What one roster of
  // two needs, two ends of two streams, may stay open until the next one begins; a leak would be
  // a thousand times as much.
  constexpr size_t kOneRoster = 4;
  // A transport's own thread pool grows when it is busy: gRPC's up to two threads a core.
  const size_t pool = 2 * std::max(1U, std::thread::hardware_concurrency());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while ((EntriesOf("/proc/self/task") > threads + pool ||
          EntriesOf("/proc/self/fd") > files + kOneRoster) &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  EXPECT_LE(EntriesOf("/proc/self/task"), threads + pool);
  EXPECT_LE(EntriesOf("/proc/self/fd"), files + kOneRoster);
  RecordProperty("threads_before", static_cast<int>(threads));
  RecordProperty("threads_after", static_cast<int>(EntriesOf("/proc/self/task")));
  RecordProperty("files_before", static_cast<int>(files));
  RecordProperty("files_after", static_cast<int>(EntriesOf("/proc/self/fd")));
}

}  // namespace neolog::collective
