#include "coordinator/runtime/runtime.h"

#include <fmt/format.h>

#include "common/base/log.h"
#include "common/base/version.h"
#include "coordinator/core/submission.h"

namespace neolog::coordinator {
namespace {

absl::Status Stopped() { return Unavailable("the coordinator is shutting down"); }

}  // namespace

absl::StatusOr<std::unique_ptr<Runtime>> Runtime::Create(const RuntimeOptions& options,
                                                         RuntimeDependencies dependencies) {
  const std::string epoch = fmt::format("{:016x}", dependencies.random());
  auto runtime = std::unique_ptr<Runtime>(new Runtime(options, std::move(dependencies), epoch));
  RETURN_IF_ERROR(runtime->Restore());
  runtime->writer_ = std::thread([r = runtime.get()] { r->WriteLoop(); });
  runtime->Decide([r = runtime.get()](Engine& engine) { return engine.Start(r->Now()); });
  runtime->Tick();
  return runtime;
}

Runtime::Runtime(const RuntimeOptions& options, RuntimeDependencies dependencies, std::string epoch)
    : options_(options),
      dependencies_(std::move(dependencies)),
      started_at_(dependencies_.clock->Now()),
      events_(options.event_capacity, std::move(epoch)),
      engine_(options.core, dependencies_.random) {
  MutexLock lock(tick_guard_->mutex);
  tick_guard_->runtime = this;
}

Runtime::~Runtime() { Stop(); }

absl::Status Runtime::Restore() {
  MutexLock lock(mutex_);  // nobody else is there yet; the analysis cannot know
  const auto restore = [this](uint64_t, const v1::JournalRecord& record)
                           REQUIRES(mutex_) { return engine_.Restore(record); };
  RETURN_IF_ERROR(dependencies_.journal->Replay(restore));
  for (const StateKey& key : engine_.NeededStates()) {
    ASSIGN_OR_RETURN(std::string bytes, dependencies_.journal->ReadState(key));
    RETURN_IF_ERROR(engine_.RestoreState(key, std::move(bytes)));
  }
  return absl::OkStatus();
}

Moment Runtime::Now() const {
  return {dependencies_.clock->SteadyNow(), dependencies_.clock->Now()};
}

void Runtime::Tick() {
  Decide([this](Engine& engine) { return engine.OnTick(Now()); });
  MutexLock lock(mutex_);
  if (stopping_ || broken_) return;
  timer_ = dependencies_.timers->RunAfter(options_.tick, [guard = tick_guard_] {
    MutexLock held(guard->mutex);
    if (guard->runtime != nullptr) guard->runtime->Tick();
  });
}

bool Runtime::PushLocked(Item item) {
  if (stopping_ || broken_) return false;
  if (!item.effects.fatal.ok()) broken_ = true;  // nothing is decided on books that may be wrong
  queue_.push_back(std::move(item));
  changed_.NotifyOne();
  return true;
}

void Runtime::Decide(const std::function<Effects(Engine&)>& decide) {
  MutexLock lock(mutex_);
  if (stopping_ || broken_) return;
  Effects effects = decide(engine_);
  if (!effects.empty()) PushLocked({std::move(effects), nullptr});
}

template <typename T>
void Runtime::Request(const std::function<absl::StatusOr<T>(Engine&, Effects&)>& ask,
                      Reply<T> reply) {
  {
    MutexLock lock(mutex_);
    if (!stopping_ && !broken_) {
      Item item;
      auto answer = std::make_shared<absl::StatusOr<T>>(ask(engine_, item.effects));
      item.reply = [answer, reply](const absl::Status& durable) {
        reply(durable.ok() ? std::move(*answer) : absl::StatusOr<T>(durable));
      };
      PushLocked(std::move(item));
      return;
    }
  }
  reply(Stopped());
}

LinkId Runtime::OpenLink(std::shared_ptr<WorkerLink> link) {
  MutexLock lock(links_mutex_);
  links_[next_link_] = std::move(link);
  return next_link_++;
}

void Runtime::OnMessage(LinkId link, const v1::WorkerMessage& message) {
  Decide([&](Engine& engine) { return engine.OnMessage(Now(), link, message); });
}

void Runtime::OnLinkClosed(LinkId link) {
  {
    MutexLock lock(links_mutex_);
    links_.erase(link);
  }
  Decide([&](Engine& engine) { return engine.OnLinkClosed(Now(), link); });
}

void Runtime::Submit(const v1::SubmitRunRequest& request, Reply<v1::SubmitRunResponse> reply) {
  bool known = false;
  {
    MutexLock lock(mutex_);
    known = engine_.FindByKey(request.idempotency_key()) != nullptr;
  }
  std::string log_dir;
  if (!known) {  // a repeated request has its folder, and its pictures, already
    if (absl::Status status = CheckSpec(request.spec()); !status.ok()) return reply(status);
    const std::vector<std::string> digests = BlobsOf(request.spec());
    const auto present = dependencies_.blobs->Has(digests);
    if (!present.ok()) return reply(present.status());
    for (size_t i = 0; i < digests.size(); ++i) {
      if ((*present)[i]) continue;
      return reply(FailedPrecondition(fmt::format(
          "data.samples[{}]: picture '{}' ({}) was not uploaded: put the blob, then submit again",
          i, request.spec().data().samples(static_cast<int>(i)).file_name(), digests[i])));
    }
    auto folder = dependencies_.directories->CheckFree(request.spec());
    if (!folder.ok()) return reply(folder.status());
    log_dir = *std::move(folder);
  }
  Request<v1::SubmitRunResponse>(
      [&](Engine& engine, Effects& effects) {
        return engine.Submit(Now(), request, log_dir, effects);
      },
      std::move(reply));
}

void Runtime::StopRun(const v1::StopRunRequest& request, Reply<v1::StopRunResponse> reply) {
  Request<v1::StopRunResponse>(
      [&](Engine& engine, Effects& effects) { return engine.Stop(Now(), request, effects); },
      std::move(reply));
}

void Runtime::PauseRun(const v1::PauseRunRequest& request, Reply<v1::PauseRunResponse> reply) {
  Request<v1::PauseRunResponse>(
      [&](Engine& engine, Effects& effects) { return engine.Pause(Now(), request, effects); },
      std::move(reply));
}

void Runtime::ResumeRun(const v1::ResumeRunRequest& request, Reply<v1::ResumeRunResponse> reply) {
  Request<v1::ResumeRunResponse>(
      [&](Engine& engine, Effects& effects) { return engine.Resume(Now(), request, effects); },
      std::move(reply));
}

void Runtime::GetRun(const v1::GetRunRequest& request, Reply<v1::GetRunResponse> reply) {
  Request<v1::GetRunResponse>([&](Engine& engine, Effects&) { return engine.Get(Now(), request); },
                              std::move(reply));
}

void Runtime::ListRuns(Reply<v1::ListRunsResponse> reply) {
  Request<v1::ListRunsResponse>(
      [&](Engine& engine, Effects&) -> absl::StatusOr<v1::ListRunsResponse> {
        return engine.List(Now());
      },
      std::move(reply));
}

void Runtime::GetSteps(const v1::GetStepsRequest& request, Reply<v1::GetStepsResponse> reply) {
  Request<v1::GetStepsResponse>([&](Engine& engine, Effects&) { return engine.Steps(request); },
                                std::move(reply));
}

void Runtime::GetStatus(Reply<Snapshot> reply) {
  Request<Snapshot>(
      [&](Engine& engine, Effects&) -> absl::StatusOr<Snapshot> {
        Snapshot snapshot;
        snapshot.status = engine.Status(Now());
        snapshot.status.set_version(kVersion);
        snapshot.status.mutable_started_at()->set_seconds(absl::ToUnixSeconds(started_at_));
        return snapshot;
      },
      [this, reply](absl::StatusOr<Snapshot> snapshot) {
        // On the writer thread: every event before this answer is published, none behind it is.
        if (snapshot.ok()) snapshot->position = events_.End();
        reply(std::move(snapshot));
      });
}

void Runtime::TellWorkersToLeave(const std::string& reason) {
  Mutex mutex;
  CondVar told;
  bool done = false;
  Request<bool>(
      [&](Engine& engine, Effects& effects) -> absl::StatusOr<bool> {
        effects = engine.OnShutdown(reason);
        return true;
      },
      [&](absl::StatusOr<bool>) {
        MutexLock lock(mutex);
        done = true;
        told.NotifyAll();
      });
  MutexLock lock(mutex);
  while (!done) told.Wait(mutex);
}

void Runtime::Stop() {
  Timers::TimerId timer = 0;
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    timer = timer_;
    changed_.NotifyOne();
  }
  if (timer != 0) dependencies_.timers->Cancel(timer);
  {
    MutexLock lock(tick_guard_->mutex);  // waits for a tick that runs now
    tick_guard_->runtime = nullptr;
  }
  if (writer_.joinable()) writer_.join();
}

void Runtime::WriteLoop() {
  bool reported = false;
  while (true) {
    std::vector<Item> items;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !stopping_) changed_.Wait(mutex_);
      if (queue_.empty()) return;
      items.swap(queue_);
    }
    // Group commit: everything that came while the last transaction was synced goes into the next
    // one.
    JournalBatch batch;
    absl::Status durable;
    for (Item& item : items) {
      if (durable.ok()) durable = item.effects.fatal;
      JournalBatch& part = item.effects.batch;
      std::move(part.records.begin(), part.records.end(), std::back_inserter(batch.records));
      // A state that is put and dropped within one transaction (two commits of one run) is not
      // written at all.
      for (StateKey& key : part.drop_states) {
        const size_t put =
            std::erase_if(batch.put_states, [&](const auto& state) { return state.first == key; });
        if (put == 0) batch.drop_states.push_back(std::move(key));
      }
      std::move(part.put_states.begin(), part.put_states.end(),
                std::back_inserter(batch.put_states));
    }
    if (durable.ok()) durable = dependencies_.journal->Append(batch);
    if (!durable.ok() && !reported) {
      reported = true;
      {
        MutexLock lock(mutex_);
        broken_ = true;
      }
      if (dependencies_.on_fatal) dependencies_.on_fatal(durable);
    }
    if (durable.ok() && dependencies_.observer != nullptr && !batch.empty())
      dependencies_.observer->OnDurable(batch);
    Deliver(items, durable);
  }
}

void Runtime::Deliver(std::vector<Item>& items, const absl::Status& durable) {
  for (Item& item : items) {
    if (durable.ok()) {
      for (Outgoing& out : item.effects.messages) {
        std::shared_ptr<WorkerLink> link;
        {
          MutexLock lock(links_mutex_);
          const auto known = links_.find(out.link);
          if (known != links_.end()) link = known->second;
        }
        if (link == nullptr) continue;
        if (out.message.body_case() != v1::CoordinatorMessage::BODY_NOT_SET)
          link->Send(std::move(out.message));
        if (out.close) link->Close();
      }
      for (const Event& event : item.effects.events) {
        if (event.steps_only) {
          spdlog::debug("{}", event.event.message());
        } else {
          spdlog::info("{}", event.event.message());
        }
      }
      events_.Publish(std::move(item.effects.events));
    }
    if (item.reply) item.reply(durable);
  }
}

}  // namespace neolog::coordinator
