#include "coordinator/cli/follow.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <deque>
#include <optional>
#include <thread>

#include "common/base/mutex.h"
#include "coordinator/cli/detach.h"
#include "coordinator/cli/progress.h"

namespace neolog::cli {
namespace {

constexpr absl::Duration kRedrawEvery = absl::Milliseconds(100);
constexpr absl::Duration kTroubleEvery = absl::Seconds(3);
constexpr absl::Duration kAwayNoticeAfter = absl::Seconds(2);

/// Reads the event stream on a thread of its own and opens it again whenever it breaks.
class EventReader {
 public:
  EventReader(Client& client, std::string run_id)
      : client_(client), run_id_(std::move(run_id)), thread_([this] { Loop(); }) {}

  ~EventReader() {
    {
      MutexLock lock(mutex_);
      stopping_ = true;
      if (stream_ != nullptr) stream_->Cancel();
    }
    changed_.NotifyAll();
    thread_.join();
  }

  int fd() const { return wake_.fd(); }

  struct Batch {
    std::vector<v1::WatchEventsResponse> events;
    /// Why the stream is broken right now; OK while it is not.
    absl::Status health;
  };
  Batch Take() {
    MutexLock lock(mutex_);
    wake_.Clear();
    Batch batch{std::vector<v1::WatchEventsResponse>(queue_.begin(), queue_.end()), health_};
    queue_.clear();
    return batch;
  }

 private:
  void Loop() {
    std::string token;
    for (;;) {
      v1::WatchEventsRequest request;
      request.set_run_id(run_id_);
      request.set_resume_token(token);
      auto stream = client_.WatchEvents(request);
      {
        MutexLock lock(mutex_);
        if (stopping_) return;
        stream_ = stream.get();
      }
      for (;;) {
        auto event = stream->Next();
        MutexLock lock(mutex_);
        if (stopping_) {
          stream_ = nullptr;
          return;
        }
        if (!event.ok()) {
          health_ = event.status();
          stream_ = nullptr;
          wake_.Wake();
          break;
        }
        health_ = absl::OkStatus();
        if (!event->resume_token().empty()) token = event->resume_token();
        queue_.push_back(*std::move(event));
        wake_.Wake();
      }
      stream.reset();
      MutexLock lock(mutex_);
      const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(300);
      while (!stopping_ && changed_.WaitUntil(mutex_, deadline)) {
      }
      if (stopping_) return;
    }
  }

  Client& client_;
  const std::string run_id_;
  WakeFd wake_;
  Mutex mutex_;
  CondVar changed_;
  bool stopping_ GUARDED_BY(mutex_) = false;
  EventStream* stream_ GUARDED_BY(mutex_) = nullptr;
  absl::Status health_ GUARDED_BY(mutex_);
  std::deque<v1::WatchEventsResponse> queue_ GUARDED_BY(mutex_);
  std::thread thread_;  // last: it uses the members above
};

/// What is shown while a run is followed.
class Follower {
 public:
  Follower(Client& client, Console& console, const Clock& clock, const FollowOptions& options)
      : client_(client),
        console_(console),
        clock_(clock),
        options_(options),
        tty_(console.options().err_is_tty),
        detach_(console.options().in_is_tty && console.options().err_is_tty) {
    result_.run.set_run_id(options.run_id);
  }

  /// True when following is over.
  bool OnSignal(int signal) { return Do(detach_.OnSignal(signal, clock_.SteadyNow())); }

  bool OnEvents(const EventReader::Batch& batch) {
    for (const auto& event : batch.events) OnEvent(event);
    if (!batch.health.ok() && !absl::IsUnavailable(batch.health) &&
        !absl::IsCancelled(batch.health)) {
      console_.Error(ToStd(batch.health.message()));
      result_.code = ExitCodeOf(batch.health);
      return true;
    }
    const SteadyTime now = clock_.SteadyNow();
    if (batch.health.ok()) {
      if (away_announced_) console_.Note("the coordinator is back");
      away_since_.reset();
      away_announced_ = false;
    } else if (!away_since_) {
      away_since_ = now;
    }
    if (!seen_ || !IsAtRest(result_.run.state())) return false;
    Draw(/*last=*/true);
    result_.code = ExitCodeOf(result_.run.state());
    return true;
  }

  bool OnTick() {
    const SteadyTime now = clock_.SteadyNow();
    if (Do(detach_.OnTick(now))) return true;
    if (away_since_ && !away_announced_ && now - *away_since_ >= kAwayNoticeAfter) {
      away_announced_ = true;
      console_.Note(
          "the coordinator does not answer; workers go on, and so does this when it is back");
    }
    if (away_since_ && now - *away_since_ >= options_.unreachable_limit) {
      console_.Error(fmt::format("the coordinator was out of reach for {}; the run may go on: {}",
                                 FormatDuration(absl::ToDoubleSeconds(options_.unreachable_limit)),
                                 options_.reattach_command));
      result_.code = kExitUnreachable;
      result_.detached = true;
      return true;
    }
    if (options_.trouble && result_.run.step() == last_trouble_step_ && now >= next_trouble_) {
      const Trouble trouble = options_.trouble();
      if (!trouble.text.empty() && trouble.who != said_trouble_) {
        said_trouble_ = trouble.who;
        console_.Warn(trouble.text);
      }
      if (trouble.hopeless) {
        console_.Error("no worker can be kept alive; the run stays queued");
        result_.code = kExitUnexpected;
        result_.detached = true;
        return true;
      }
    }
    if (now >= next_trouble_) {
      next_trouble_ = now + kTroubleEvery;
      last_trouble_step_ = result_.run.step();
    }
    if (seen_ && tty_ && dirty_ && now - drawn_ >= kRedrawEvery) Draw(false);
    return false;
  }

  FollowResult& result() { return result_; }

 private:
  void OnEvent(const v1::WatchEventsResponse& event) {
    if (event.has_snapshot()) {
      for (const v1::RunInfo& run : event.snapshot().runs()) OnRun(run);
    } else if (event.has_run()) {
      OnRun(event.run());
    } else if (event.has_roster() && roster_version_ != 0 &&
               event.roster().version() != roster_version_) {
      console_.Note(
          fmt::format("team of {}: {}", event.roster().members_size(),
                      event.message().empty() ? event.roster().reason() : event.message()));
    }
    if (event.has_roster()) roster_version_ = event.roster().version();
  }

  void OnRun(const v1::RunInfo& run) {
    if (run.run_id() != options_.run_id) return;
    seen_ = true;
    dirty_ = true;
    result_.run = run;
    if (tty_) {
      if (clock_.SteadyNow() - drawn_ >= kRedrawEvery) Draw(false);
    } else if (run.step() > 0 &&
               pacer_.ShouldPrint(run.step(), run.total_steps(), clock_.SteadyNow())) {
      console_.Note(FormatProgress(ViewOf(run), 120));
    }
  }

  void Draw(bool last) {
    drawn_ = clock_.SteadyNow();
    dirty_ = false;
    if (!tty_) return;
    console_.Redraw(FormatProgress(ViewOf(result_.run), console_.options().width()));
    if (last) console_.EndRedraw();
  }

  bool Do(DetachLogic::Action action) {
    switch (action) {
      case DetachLogic::Action::kNone: return false;
      case DetachLogic::Action::kAnnounce:
        console_.EndRedraw();
        console_.Note(
            "leaving; the run goes on. Press Ctrl-C again within 2 s to stop the run instead.");
        return false;
      case DetachLogic::Action::kAsk:
        return Do(
            detach_.Answered(console_.Confirm("Stop the run? Its state and embedding are kept.")));
      case DetachLogic::Action::kStopRun:
        if (const auto run = client_.StopRun(options_.run_id); !run.ok()) {
          console_.Error(ToStd(run.status().message()));
          return Detach(kExitInterrupted);
        }
        console_.Note("stopping at the next step");
        return false;
      case DetachLogic::Action::kDetach: return Detach(kExitInterrupted);
      case DetachLogic::Action::kDetachTerminated: return Detach(kExitTerminated);
    }
    return false;
  }

  bool Detach(ExitCode code) {
    console_.EndRedraw();
    console_.Note(fmt::format(
        "The run goes on. To follow it again:  {}\n                To stop it:          {}",
        options_.reattach_command, options_.stop_command));
    result_.code = code;
    result_.detached = true;
    return true;
  }

  Client& client_;
  Console& console_;
  const Clock& clock_;
  const FollowOptions& options_;
  const bool tty_;
  DetachLogic detach_;
  LinePacer pacer_;
  FollowResult result_;
  bool seen_ = false;
  bool dirty_ = false;
  SteadyTime drawn_;
  uint64_t roster_version_ = 0;
  std::optional<SteadyTime> away_since_;
  bool away_announced_ = false;
  SteadyTime next_trouble_;
  uint64_t last_trouble_step_ = UINT64_MAX;
  std::string said_trouble_;
};

}  // namespace

FollowResult FollowRun(Client& client, Console& console, SignalPipe& signals, const Clock& clock,
                       const FollowOptions& options) {
  Follower follower(client, console, clock, options);
  EventReader reader(client, options.run_id);
  for (;;) {
    pollfd watched[2] = {{signals.fd(), POLLIN, 0}, {reader.fd(), POLLIN, 0}};
    poll(watched, 2, 100);
    bool over = false;
    for (const int signal : signals.Take()) over = over || follower.OnSignal(signal);
    if (over || follower.OnEvents(reader.Take()) || follower.OnTick()) return follower.result();
  }
}

}  // namespace neolog::cli
