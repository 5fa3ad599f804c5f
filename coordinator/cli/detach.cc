#include "coordinator/cli/detach.h"

#include <csignal>

namespace neolog::cli {

DetachLogic::Action DetachLogic::OnSignal(int signal, absl::Duration now) {
  if (signal == SIGTERM || signal == SIGHUP) return Action::kDetachTerminated;
  if (signal != SIGINT) return Action::kNone;
  if (!interactive_) return Action::kDetach;
  if (leaving_) {
    leaving_ = false;
    return now <= deadline_ ? Action::kAsk : Action::kDetach;
  }
  leaving_ = true;
  deadline_ = now + kWindow;
  return Action::kAnnounce;
}

DetachLogic::Action DetachLogic::OnTick(absl::Duration now) {
  return leaving_ && now >= deadline_ ? Action::kDetach : Action::kNone;
}

DetachLogic::Action DetachLogic::Answered(bool yes) {
  return yes ? Action::kStopRun : Action::kDetach;
}

}  // namespace neolog::cli
