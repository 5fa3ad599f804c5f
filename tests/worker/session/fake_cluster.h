#pragma once

#include <gmock/gmock.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/base/hash.h"
#include "common/base/mutex.h"
#include "common/storage/memory_blob_store.h"
#include "tests/worker/session/fake_trainer.h"
#include "worker/collective/exchange.h"
#include "worker/collective/in_process.h"
#include "worker/session/session.h"

namespace neolog::session {

/// A coordinator with its workers in one process: it keeps commits as strictly as the real one,
/// answers on a thread of its own, and can go away. Tests decide about rosters, deaths and
/// controls.
class FakeCluster {
 public:
  struct Worker;
  class WorkerUplink : public Uplink {
   public:
    WorkerUplink(FakeCluster* cluster, std::string id) : cluster_(cluster), id_(std::move(id)) {}
    bool Send(v1::WorkerMessage message) override {
      return cluster_->Receive(id_, std::move(message));
    }

   private:
    FakeCluster* const cluster_;
    const std::string id_;
  };
  struct Worker {
    v1::WorkerIdentity identity;
    std::unique_ptr<testing::FakeTrainer> trainer;
    std::unique_ptr<WorkerUplink> uplink;
    std::unique_ptr<collective::InProcessLinks> links;
    std::unique_ptr<collective::ExchangeFactory> factory;
    std::shared_ptr<Session> session;
  };
  struct RunBook {
    v1::RunSpec spec;
    std::vector<v1::StepRecord> steps;
    std::string state;
    bool left = false;
    v1::RunFailure failure;
    std::map<std::string, std::string> latents;
  };

  explicit FakeCluster(testing::FakeTrainerOptions options = {})
      : options_(std::move(options)), thread_([this] { Loop(); }) {}
  ~FakeCluster() {
    while (!workers_.empty()) Kill(workers_.begin()->first);
    {
      MutexLock lock(mutex_);
      stopping_ = true;
      changed_.NotifyAll();
    }
    thread_.join();
  }

  void AddWorker(const std::string& id) { AddWorker(id, options_); }
  void AddWorker(const std::string& id, const testing::FakeTrainerOptions& options) {
    auto worker = std::make_shared<Worker>();
    worker->identity.set_worker_id(id);
    worker->identity.set_incarnation(RandomBits64());
    worker->trainer = std::make_unique<testing::FakeTrainer>(options);
    worker->uplink = std::make_unique<WorkerUplink>(this, id);
    worker->links = std::make_unique<collective::InProcessLinks>(&hub_);
    worker->factory = std::make_unique<collective::ExchangeFactory>(worker->links.get());
    worker->session =
        std::make_shared<Session>(SessionOptions{.commit_interval = absl::Milliseconds(5),
                                                 .retry_interval = absl::Milliseconds(20)},
                                  SessionDependencies{worker->trainer.get(), worker->factory.get(),
                                                      worker->uplink.get(), &blobs_, &clock_});
    bool connected = false;
    {
      MutexLock lock(mutex_);
      workers_[id] = worker;
      connected = !away_;
    }
    worker->session->OnConnection(connected);
  }

  /// The process dies: its collective with it.
  void Kill(const std::string& id) {
    std::shared_ptr<Worker> worker;
    {
      MutexLock lock(mutex_);
      worker = workers_.at(id);
      workers_.erase(id);
    }
    // A reply under way may hold the session a little longer than this worker; what it works with
    // lives on here.
    worker->session.reset();
    MutexLock lock(mutex_);
    dead_.push_back(std::move(worker));
  }

  testing::FakeTrainer& trainer(const std::string& id) {
    MutexLock lock(mutex_);
    return *workers_.at(id)->trainer;
  }
  std::shared_ptr<Session> session(const std::string& id) {
    MutexLock lock(mutex_);
    return workers_.at(id)->session;
  }
  void SetIncarnation(const std::string& id, uint64_t incarnation) {
    MutexLock lock(mutex_);
    workers_.at(id)->identity.set_incarnation(incarnation);
  }

  void AddRun(const v1::RunSpec& spec) {
    MutexLock lock(mutex_);
    order_.push_back(spec.name());
    runs_[spec.name()].spec = spec;
  }
  /// A run leaves the queue again.
  void Resume(const std::string& run) {
    MutexLock lock(mutex_);
    runs_.at(run).left = false;
  }

  /// The journal holds garbage as this run's last state, far beyond what any worker has.
  void DamageCommit(const std::string& run) {
    MutexLock lock(mutex_);
    RunBook& book = runs_.at(run);
    book.steps.resize(book.spec.training().steps() - 1);
    book.state = "garbage";
  }

  /// A new roster for all runs that step.
  void NewRoster(const std::vector<std::string>& members, const std::string& team = "team") {
    v1::Assignment assignment;
    std::vector<std::pair<std::shared_ptr<Session>, v1::WorkerIdentity>> sessions;
    {
      MutexLock lock(mutex_);
      assignment.set_team_id(team);
      assignment.mutable_roster()->set_team_id(team);
      assignment.mutable_roster()->set_version(++version_);
      for (const std::string& id : members) {
        *assignment.mutable_roster()->add_members()->mutable_worker() = workers_.at(id)->identity;
      }
      for (const std::string& name : order_) {
        const RunBook& run = runs_.at(name);
        if (run.left || run.steps.size() == run.spec.training().steps()) continue;
        v1::RunAssignment& assigned = *assignment.add_runs();
        assigned.set_run_id(name);
        *assigned.mutable_spec() = run.spec;
        assigned.set_committed_step(run.steps.size());
        assigned.set_committed_state(run.state);
        if (!run.steps.empty()) assigned.set_committed_hash(run.steps.back().state_hash());
      }
      for (const auto& [key, digest] : latents_) {
        if (!latents_assigned_) break;
        assignment.add_latents()->set_key(key);
        assignment.mutable_latents(assignment.latents_size() - 1)->set_blob_digest(digest);
      }
      team_ = team;
      for (const auto& [id, worker] : workers_)
        sessions.emplace_back(worker->session, worker->identity);
    }
    // Workers that are not members are told too, and go idle.
    for (const auto& [session, identity] : sessions) session->OnAssignment(assignment, identity);
  }

  void Control(const std::string& run, v1::ControlRequest::Action action,
               const std::vector<std::string>& to = {}) {
    v1::ControlRequest request;
    std::vector<std::shared_ptr<Session>> sessions;
    {
      MutexLock lock(mutex_);
      request.set_team_id(team_);
      request.set_run_id(run);
      request.set_action(action);
      for (const auto& [id, worker] : workers_) {
        if (to.empty() || std::find(to.begin(), to.end(), id) != to.end())
          sessions.push_back(worker->session);
      }
    }
    for (const auto& session : sessions) session->OnControl(request);
  }

  void SetAway(bool away) {
    std::vector<std::shared_ptr<Session>> sessions;
    {
      MutexLock lock(mutex_);
      away_ = away;
      if (away) inbox_.clear();
      for (const auto& [id, worker] : workers_) sessions.push_back(worker->session);
    }
    for (const auto& session : sessions) session->OnConnection(!away);
  }
  /// Drops what this worker says, without telling it: as if the stream were about to break.
  void Mute(const std::string& id, bool mute) {
    MutexLock lock(mutex_);
    if (mute) {
      muted_.insert(id);
    } else {
      muted_.erase(id);
    }
  }

  /// Whether assignments carry the posteriors that are known.
  void SetLatentsAssigned(bool assigned) {
    MutexLock lock(mutex_);
    latents_assigned_ = assigned;
  }
  /// Drops what workers ask and say about posteriors.
  void SetDeafToLatents(bool deaf) {
    MutexLock lock(mutex_);
    deaf_to_latents_ = deaf;
  }

  /// Waits until `condition`, checked whenever something was committed or reported. False after a
  /// generous while.
  bool WaitUntil(const std::function<bool(FakeCluster&)>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    for (;;) {
      if (condition(*this)) return true;
      MutexLock lock(mutex_);
      if (std::chrono::steady_clock::now() > deadline) return false;
      changed_.WaitUntil(mutex_, std::chrono::steady_clock::now() + std::chrono::milliseconds(2));
    }
  }
  uint64_t Committed(const std::string& run) {
    MutexLock lock(mutex_);
    return runs_.at(run).steps.size();
  }
  bool WaitCommitted(const std::string& run, uint64_t step) {
    return WaitUntil([&](FakeCluster& c) { return c.Committed(run) >= step; });
  }
  bool WaitLeft(const std::string& run) {
    return WaitUntil([&](FakeCluster& c) { return c.Book(run).left; });
  }
  RunBook Book(const std::string& run) {
    MutexLock lock(mutex_);
    return runs_.at(run);
  }
  std::vector<std::string> problems() {
    MutexLock lock(mutex_);
    return problems_;
  }
  std::vector<v1::ArtifactReport> artifacts() {
    MutexLock lock(mutex_);
    return artifacts_;
  }
  std::vector<v1::PeerFailure> peer_failures() {
    MutexLock lock(mutex_);
    return peer_failures_;
  }
  std::vector<v1::AssignmentReport> pack_failures() {
    MutexLock lock(mutex_);
    return pack_failures_;
  }
  MemoryBlobStore& blobs() { return blobs_; }
  uint64_t version() {
    MutexLock lock(mutex_);
    return version_;
  }

 private:
  bool Receive(const std::string& id, v1::WorkerMessage message) {
    MutexLock lock(mutex_);
    if (away_ || !workers_.contains(id)) return false;
    if (muted_.contains(id)) return true;
    inbox_.emplace_back(id, std::move(message));
    changed_.NotifyAll();
    return true;
  }

  void Loop() {
    for (;;) {
      std::vector<std::function<void()>> replies;
      {
        MutexLock lock(mutex_);
        while (!stopping_ && inbox_.empty()) changed_.Wait(mutex_);
        if (stopping_) return;
        auto [id, message] = std::move(inbox_.front());
        inbox_.pop_front();
        HandleLocked(id, message, replies);
      }
      for (const auto& reply : replies) reply();
    }
  }

  template <typename Message>
  void ToAllLocked(std::vector<std::function<void()>>& replies,
                   void (Session::*method)(const Message&), const Message& message)
      REQUIRES(mutex_) {
    for (const auto& [id, worker] : workers_) {
      replies.push_back(
          [session = worker->session, method, message] { (session.get()->*method)(message); });
    }
  }

  void HandleLocked(const std::string& from, const v1::WorkerMessage& message,
                    std::vector<std::function<void()>>& replies) REQUIRES(mutex_) {
    if (message.has_commit()) {
      const v1::CommitReport& report = message.commit();
      if (report.roster_version() != version_) return;
      RunBook& run = runs_.at(report.run_id());
      for (const v1::StepRecord& record : report.steps()) {
        if (record.step() <= run.steps.size()) {
          if (run.steps[record.step() - 1].state_hash() != record.state_hash())
            problems_.push_back("a step was taken twice, differently");
        } else if (record.step() != run.steps.size() + 1) {
          problems_.push_back("a step is missing in the reports");
          return;
        } else {
          run.steps.push_back(record);
        }
      }
      if (report.steps().rbegin()->step() == run.steps.size()) {
        if (Hash64(report.state()) != run.steps.back().state_hash())
          problems_.push_back("state and hash do not fit");
        run.state = report.state();
      }
      v1::Committed committed;
      committed.set_run_id(report.run_id());
      committed.set_step(run.steps.size());
      committed.set_state_hash(run.steps.back().state_hash());
      ToAllLocked(replies, &Session::OnCommitted, committed);
    } else if (message.has_latent()) {
      if (deaf_to_latents_) return;
      v1::LatentReport latent = message.latent();
      if (latent.blob_digest().empty() && !latents_.contains(latent.key())) {
        const auto asker = workers_.find(from);
        if (asker == workers_.end()) return;
        replies.push_back(
            [session = asker->second->session, latent] { session->OnLatent(latent); });
        return;
      }
      // The first result is everybody's.
      latent.set_blob_digest(latents_.emplace(latent.key(), latent.blob_digest()).first->second);
      ToAllLocked(replies, &Session::OnLatent, latent);
    } else if (message.has_assignment()) {
      const v1::AssignmentReport& report = message.assignment();
      if (report.phase() == "failed" && report.run_id().empty()) pack_failures_.push_back(report);
      if (report.run_id().empty() || report.roster_version() != version_) return;
      runs_.at(report.run_id()).left = true;
      if (report.phase() == "failed") runs_.at(report.run_id()).failure = report.failure();
    } else if (message.has_artifact()) {
      artifacts_.push_back(message.artifact());
    } else if (message.has_peer_failure()) {
      peer_failures_.push_back(message.peer_failure());
    }
    changed_.NotifyAll();
  }

  const testing::FakeTrainerOptions options_;
  SystemClock clock_;
  MemoryBlobStore blobs_;
  collective::InProcessHub hub_;
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  bool away_ GUARDED_BY(mutex_) = false;
  std::set<std::string> muted_ GUARDED_BY(mutex_);
  std::map<std::string, std::shared_ptr<Worker>> workers_ GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<Worker>> dead_ GUARDED_BY(mutex_);
  std::deque<std::pair<std::string, v1::WorkerMessage>> inbox_ GUARDED_BY(mutex_);
  uint64_t version_ GUARDED_BY(mutex_) = 0;
  std::string team_ GUARDED_BY(mutex_);
  std::vector<std::string> order_ GUARDED_BY(mutex_);
  std::map<std::string, RunBook> runs_ GUARDED_BY(mutex_);
  std::map<std::string, std::string> latents_ GUARDED_BY(mutex_);
  bool latents_assigned_ GUARDED_BY(mutex_) = true;
  bool deaf_to_latents_ GUARDED_BY(mutex_) = false;
  std::vector<std::string> problems_ GUARDED_BY(mutex_);
  std::vector<v1::ArtifactReport> artifacts_ GUARDED_BY(mutex_);
  std::vector<v1::PeerFailure> peer_failures_ GUARDED_BY(mutex_);
  std::vector<v1::AssignmentReport> pack_failures_ GUARDED_BY(mutex_);
  std::thread thread_;
};

}  // namespace neolog::session
