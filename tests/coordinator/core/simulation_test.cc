#include <gtest/gtest.h>

#include <random>

#include "coordinator/core/apply.h"
#include "coordinator/core/placement.h"
#include "tests/coordinator/core/fixtures.h"
#include "tests/support/status_matchers.h"

// Random schedules of everything that can happen to a coordinator, with invariants checked after
// each event.

namespace neolog::coordinator {
namespace {

using testing::Cluster;
using testing::MakeIdentity;
using testing::MakeRegister;
using testing::MakeSpec;

class Simulation {
 public:
  explicit Simulation(uint64_t seed) : random_(seed) {}

  void Run(int events) {
    for (int i = 0; i < events && !::testing::Test::HasFatalFailure(); ++i) {
      Step();
      Check();
    }
    CheckReplay();
    CheckJournal();
  }

  /// Everything the users and workers want is let happen: no run may be stuck.
  void Settle() {
    for (auto& [id, run] : cluster_.engine().state().runs) {
      if (run.state == v1::RUN_STATE_PAUSED || run.state == v1::RUN_STATE_STOPPED ||
          run.state == v1::RUN_STATE_FAILED) {
        to_resume_.push_back(id);
      }
    }
    for (const std::string& id : to_resume_) cluster_.Resume(id).IgnoreError();
    for (int w = 0; w < kWorkers; ++w) {
      if (!cluster_.link_open(Name(w))) Join(w, /*fresh=*/true);
    }
    for (int round = 0; round < 400; ++round) {
      for (int w = 0; w < kWorkers; ++w) {
        if (!cluster_.link_open(Name(w))) Join(w, true);
        if (cluster_.link_open(Name(w))) Work(w);
      }
      cluster_.Advance(absl::Milliseconds(50));
    }
    for (const auto& [id, run] : cluster_.engine().state().runs) {
      EXPECT_TRUE(run.state == v1::RUN_STATE_COMPLETED || run.state == v1::RUN_STATE_STOPPED ||
                  run.state == v1::RUN_STATE_PAUSED)
          << id << " is stuck: " << run.state << " at " << run.committed() << " " << run.reason
          << " " << run.waiting;
    }
  }

 private:
  static constexpr int kWorkers = 4;
  static std::string Name(int w) { return "w" + std::to_string(w); }
  uint64_t Draw(uint64_t below) { return random_() % below; }

  void Join(int w, bool fresh) {
    if (fresh) ++incarnation_[w];
    v1::Register info = MakeRegister();
    const auto identity = MakeIdentity(Name(w), incarnation_[w]);
    if (const Team* team = TeamOf(cluster_.engine().state(), identity);
        team != nullptr && Draw(2) == 0) {
      info.mutable_held()->set_team_id(team->roster.team_id());
      info.mutable_held()->set_roster_version(team->roster.version());
      info.mutable_held()->set_phase("stepping");
    }
    cluster_.Join(Name(w), incarnation_[w], info);
  }

  /// What a worker does in its team: commits when it is the first member, reports what left.
  void Work(int w) {
    const std::string id = Name(w);
    cluster_.Heartbeat(id);
    if (!cluster_.link_open(id)) return;
    const auto identity = MakeIdentity(id, incarnation_[w]);
    const Team* team = TeamOf(cluster_.engine().state(), identity);
    if (team == nullptr) return;
    const std::vector<std::string> runs = team->run_ids;
    bool any = false;
    for (const std::string& run_id : runs) {
      const coordinator::Run& run = cluster_.run(run_id);
      if (!run.in_team) continue;
      any = true;
      if (run.state == v1::RUN_STATE_RUNNING) {
        if (!SameIdentity(team->roster.members(0).worker(), identity)) continue;
        const uint64_t first =
            run.committed() + 1 - Draw(std::min<uint64_t>(run.committed(), 3) + 1);
        cluster_.Commit(id, run_id, first, std::min(run.total(), run.committed() + 1 + Draw(5)));
      } else {
        std::vector<uint64_t> steps;
        for (const std::string& other : runs) steps.push_back(cluster_.run(other).committed());
        cluster_.Report(id, "done", run_id, steps);
      }
      if (!cluster_.link_open(id)) return;
      team = TeamOf(cluster_.engine().state(), identity);
      if (team == nullptr) return;
    }
    if (!any) cluster_.Report(id, "done");
  }

  void Step() {
    const int w = static_cast<int>(Draw(kWorkers));
    const std::string id = Name(w);
    const bool open = cluster_.link_open(id);
    switch (Draw(18)) {
      case 0:
      case 1:
        if (!open) Join(w, Draw(2) == 0 || incarnation_[w] == 0);
        break;
      case 2:
        if (open) cluster_.Hangup(id);
        break;
      case 3:
      case 4:
      case 5:
      case 6:
      case 7:
        if (open) Work(w);
        break;
      case 8: cluster_.Advance(absl::Milliseconds(10 + Draw(200))); break;
      case 9:
        if (Draw(8) == 0) cluster_.Advance(absl::Seconds(2));
        break;
      case 10:
        if (cluster_.engine().state().runs.size() < 5) {
          v1::RunSpec spec = MakeSpec("run" + std::to_string(submitted_++), 20 + Draw(40), Draw(4));
          spec.mutable_checkpoint()->set_every_steps(Draw(2) * 10);
          cluster_.Submit(spec);
        }
        break;
      case 11:
        if (const auto run = AnyRun(); !run.empty()) cluster_.Pause(run).IgnoreError();
        break;
      case 12:
        if (const auto run = AnyRun(); !run.empty()) cluster_.Resume(run, Draw(4)).IgnoreError();
        break;
      case 13:
        if (const auto run = AnyRun(); !run.empty() && Draw(6) == 0)
          cluster_.Stop(run).IgnoreError();
        break;
      case 14:
        if (Draw(6) == 0) Restart();
        break;
      case 15:
        if (open) {
          const Team* team = TeamOf(cluster_.engine().state(), MakeIdentity(id, incarnation_[w]));
          if (team == nullptr) break;
          const int other =
              static_cast<int>(Draw(static_cast<uint64_t>(team->roster.members_size())));
          const std::string about = team->roster.members(other).worker().worker_id();
          if (about != id && cluster_.link_open(about)) cluster_.Complain(id, about);
        }
        break;
      case 16:
        if (open && Draw(3) == 0) Fail(w);
        break;
      case 17:
        if (open && Draw(8) == 0) Hang(w);
        break;
    }
  }

  /// A member cannot go on, or finds a run that it cannot use.
  void Fail(int w) {
    const Team* team = TeamOf(cluster_.engine().state(), MakeIdentity(Name(w), incarnation_[w]));
    if (team == nullptr) return;
    const std::vector<std::string> active = ActiveRuns(cluster_.engine().state(), *team);
    v1::RunFailure failure;
    failure.set_kind(Draw(2) == 0 ? v1::RunFailure::KIND_BAD_INPUT : v1::RunFailure::KIND_DEVICE);
    failure.set_message("made up");
    const bool names_one =
        !active.empty() && failure.kind() == v1::RunFailure::KIND_BAD_INPUT && Draw(2) == 0;
    if (Draw(2) == 0) cluster_.Report(Name(w), "stepping");
    cluster_.Report(Name(w), "failed", names_one ? active[Draw(active.size())] : "", {}, failure);
  }

  /// One worker's computing stands still for longer than anything is given; the others go on
  /// beating.
  void Hang(int w) {
    for (int i = 0; i < 30; ++i) {
      for (int other = 0; other < kWorkers; ++other) {
        if (!cluster_.link_open(Name(other))) continue;
        if (other == w) {
          cluster_.Heartbeat(Name(other), "stepping", 1);
        } else {
          cluster_.Heartbeat(Name(other));
        }
      }
      cluster_.Advance(absl::Milliseconds(100));
    }
    const auto worker = cluster_.engine().state().workers.find(Name(w));
    if (worker == cluster_.engine().state().workers.end() || worker->second.lost) return;
    const Team* team = TeamOf(cluster_.engine().state(), worker->second.identity);
    ASSERT_TRUE(team == nullptr || ActiveRuns(cluster_.engine().state(), *team).empty() ||
                worker->second.link == 0)
        << Name(w) << " hangs and is still a member";
  }

  void Restart() {
    const std::string before = DescribeDurable(cluster_.engine().state());
    cluster_.Restart();
    ASSERT_EQ(DescribeDurable(cluster_.engine().state()), before);
  }

  std::string AnyRun() {
    const auto& runs = cluster_.engine().state().runs;
    if (runs.empty()) return "";
    return std::next(runs.begin(), static_cast<std::ptrdiff_t>(Draw(runs.size())))->first;
  }

  void Check() {
    const ClusterState& state = cluster_.engine().state();
    for (const auto& [id, run] : state.runs) {
      ASSERT_GE(run.committed(), committed_[id]) << "a committed step went away";
      committed_[id] = run.committed();
      ASSERT_LE(run.committed(), run.total());
      ASSERT_EQ(run.in_team, run.state == v1::RUN_STATE_RUNNING ||
                                 run.state == v1::RUN_STATE_PAUSING ||
                                 run.state == v1::RUN_STATE_STOPPING)
          << id;
      if (run.in_team) {
        ASSERT_EQ(state.teams.count(run.team_id), 1u) << id;
      }
      if (run.committed() > 0) {
        ASSERT_EQ(cluster_.states().count({id, run.committed()}), 1u) << id;
      }
    }
    std::map<std::string, std::string> member_of;
    for (const auto& [team_id, team] : state.teams) {
      ASSERT_GE(team.roster.version(), versions_[team_id]);
      versions_[team_id] = team.roster.version();
      ASSERT_GT(team.roster.members_size(), 0);
      const bool active = !ActiveRuns(state, team).empty();
      for (const auto& member : team.roster.members()) {
        const std::string& id = member.worker().worker_id();
        if (!active) continue;
        ASSERT_EQ(member_of.count(id), 0u) << id << " is in two teams";
        member_of[id] = team_id;
        ASSERT_TRUE(SameIdentity(state.workers.at(id).identity, member.worker()));
        ASSERT_FALSE(state.workers.at(id).lost) << id << " is lost and still a member";
        for (const std::string& run : ActiveRuns(state, team)) {
          ASSERT_EQ(state.runs.at(run).barred.count(IncarnationOf(member.worker())), 0u)
              << id << " cannot train " << run;
        }
      }
    }
  }

  void CheckReplay() {
    ClusterState replayed;
    for (const v1::JournalRecord& record : cluster_.records()) ASSERT_OK(Apply(record, replayed));
    ASSERT_EQ(DescribeDurable(replayed), DescribeDurable(cluster_.engine().state()));
  }

  /// No committed step is repeated or skipped, counted from the journal alone.
  void CheckJournal() {
    std::map<std::string, uint64_t> next;
    for (const v1::JournalRecord& record : cluster_.records()) {
      if (!record.has_steps_committed()) continue;
      for (const auto& step : record.steps_committed().steps()) {
        ASSERT_EQ(step.step(), ++next[record.steps_committed().run_id()]);
      }
    }
  }

  std::mt19937_64 random_;
  Cluster cluster_{CoreOptions{
      .hang_limit = absl::Seconds(1), .hang_steps = 0, .hang_limit_unknown = absl::Seconds(2)}};
  uint64_t incarnation_[kWorkers] = {};
  int submitted_ = 0;
  std::map<std::string, uint64_t> committed_;
  std::map<std::string, uint64_t> versions_;
  std::vector<std::string> to_resume_;
};

TEST(Simulation, RandomSchedules_KeepEveryInvariantAndEnd) {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Simulation simulation(seed);
    simulation.Run(600);
    if (::testing::Test::HasFailure()) return;
    simulation.Settle();
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace neolog::coordinator
