#include "worker/collective/in_process.h"

#include <fmt/format.h>

namespace neolog::collective {
namespace {

absl::Status WentOn(const std::string& worker, uint64_t version, uint64_t newer) {
  return FailedPrecondition(
      fmt::format("roster {} is over: worker {} is on roster {}", version, worker, newer));
}

/// FailedPrecondition when the two rosters name different incarnations for the same rank.
absl::Status SameMembers(const v1::Roster& mine, const v1::Roster& theirs) {
  bool same = mine.members_size() == theirs.members_size();
  for (int i = 0; same && i < mine.members_size(); ++i) {
    same = mine.members(i).worker().worker_id() == theirs.members(i).worker().worker_id() &&
           mine.members(i).worker().incarnation() == theirs.members(i).worker().incarnation();
  }
  if (same) return absl::OkStatus();
  return FailedPrecondition(
      fmt::format("members hold different lists for roster {} of team {}: an incarnation is stale",
                  mine.version(), mine.team_id()));
}

}  // namespace

InProcessHub::InProcessHub() = default;
InProcessHub::~InProcessHub() = default;

class InProcessLink : public Link {
 public:
  InProcessLink(v1::Roster roster, int rank, InProcessHub* hub,
                std::shared_ptr<InProcessHub::Group> group)
      : Link(std::move(roster), rank, group->inboxes[rank]), hub_(hub), group_(std::move(group)) {}

  ~InProcessLink() override {
    TellPeers(absl::OkStatus());
    MutexLock lock(hub_->mutex_);
    if (++group_->left == size()) hub_->groups_.erase({roster().team_id(), roster().version()});
  }

  void Send(int to, const Part& part) override { group_->inboxes[to]->Deliver(rank(), part); }

 protected:
  void OnDead(const absl::Status& dead) override { TellPeers(dead); }

 private:
  void TellPeers(const absl::Status& dead) {
    for (int r = 0; r < size(); ++r) {
      if (r == rank()) continue;
      if (dead.ok()) {
        group_->inboxes[r]->Close(rank(), LostPeer(roster(), rank(), "left the team"));
      } else if (dead.code() == absl::StatusCode::kInternal) {
        group_->inboxes[r]->Kill(dead);
      } else {
        group_->inboxes[r]->Kill(
            LostPeer(roster(), rank(), fmt::format("left the team: {}", ToStd(dead.message()))));
      }
    }
  }

  InProcessHub* const hub_;
  const std::shared_ptr<InProcessHub::Group> group_;
};

absl::StatusOr<std::unique_ptr<Link>> InProcessLinks::Connect(const v1::Roster& roster,
                                                              const v1::WorkerIdentity& self) {
  ASSIGN_OR_RETURN(const int rank, RankOf(roster, self));
  std::shared_ptr<InProcessHub::Group> group;
  absl::Status stale;
  {
    MutexLock lock(hub_->mutex_);
    uint64_t& latest = hub_->latest_[{roster.team_id(), self.worker_id()}];
    if (latest >= roster.version()) {
      return FailedPrecondition(
          fmt::format("worker {} already had roster {} of team {}; {} is not newer",
                      self.worker_id(), latest, roster.team_id(), roster.version()));
    }
    latest = roster.version();
    // Those who still wait for this worker under an older roster learn that it went on.
    for (auto& [key, old] : hub_->groups_) {
      if (key.first != roster.team_id() || key.second >= roster.version()) continue;
      for (size_t r = 0; r < old->inboxes.size(); ++r) {
        if (old->worker_ids[r] != self.worker_id() || old->joined[r] != nullptr) continue;
        for (const auto& inbox : old->inboxes)
          inbox->Kill(WentOn(self.worker_id(), key.second, roster.version()));
      }
    }
    auto& slot = hub_->groups_[{roster.team_id(), roster.version()}];
    if (slot == nullptr) {
      slot = std::make_shared<InProcessHub::Group>();
      for (int r = 0; r < roster.members_size(); ++r) {
        slot->inboxes.push_back(std::make_shared<Inbox>(roster.members_size(), nullptr));
        slot->joined.push_back(nullptr);
        slot->worker_ids.push_back(roster.members(r).worker().worker_id());
      }
    }
    group = slot;
    for (const auto& other : group->joined) {
      if (stale.ok() && other != nullptr) stale = SameMembers(roster, *other);
    }
    if (static_cast<size_t>(rank) >= group->joined.size()) return stale;
    group->joined[rank] = std::make_unique<v1::Roster>(roster);
    for (int r = 0; stale.ok() && r < roster.members_size(); ++r) {
      const auto it =
          hub_->latest_.find({roster.team_id(), roster.members(r).worker().worker_id()});
      if (it != hub_->latest_.end() && it->second > roster.version()) {
        stale = WentOn(roster.members(r).worker().worker_id(), roster.version(), it->second);
      }
    }
  }
  auto made = std::make_unique<InProcessLink>(roster, rank, hub_, group);
  if (!stale.ok()) {
    for (const auto& inbox : group->inboxes) inbox->Kill(stale);
  }
  return made;
}

}  // namespace neolog::collective
