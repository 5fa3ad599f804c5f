#pragma once

#include "absl/time/time.h"

namespace neolog::cli {

/// What Ctrl-C and SIGTERM mean while a run is followed. Nothing here ever stops a run by itself:
/// the first Ctrl-C detaches, a second one within two seconds offers to stop the run, and only a
/// yes stops it.
///
///   following --SIGINT, tty--> leaving --2 s--> detach (130)
///                              leaving --SIGINT--> ask --yes--> stop the run, follow it to its end
///                                                      --no---> detach (130)
///   following --SIGINT, no tty--> detach (130)
///   any --SIGTERM, SIGHUP--> detach (143)
class DetachLogic {
 public:
  enum class Action {
    kNone,
    /// Say how to re-attach and that another Ctrl-C offers to stop the run.
    kAnnounce,
    /// Ask whether to stop the run; then call Answered.
    kAsk,
    /// Ask the coordinator to stop the run and go on following.
    kStopRun,
    /// Leave, with exit code 130.
    kDetach,
    /// Leave, with exit code 143.
    kDetachTerminated,
  };
  static constexpr absl::Duration kWindow = absl::Seconds(2);

  /// `interactive`: standard input and error are terminals, so a question can be asked.
  explicit DetachLogic(bool interactive) : interactive_(interactive) {}

  /// A signal came at `now` (monotonic).
  Action OnSignal(int signal, absl::Duration now);
  /// Time passed; call at `NextDeadline` or later.
  Action OnTick(absl::Duration now);
  /// The question was answered.
  Action Answered(bool yes);
  /// When OnTick wants to be called; infinite when it does not.
  absl::Duration NextDeadline() const { return leaving_ ? deadline_ : absl::InfiniteDuration(); }

 private:
  bool interactive_;
  bool leaving_ = false;
  absl::Duration deadline_;
};

}  // namespace neolog::cli
