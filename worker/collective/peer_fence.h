#pragma once

#include <cstdint>
#include <optional>

#include "common/base/status.h"
#include "neolog/v1/peer.pb.h"
#include "neolog/v1/run.pb.h"

namespace neolog::collective {

/// What a worker knows about one team when a member says hello.
struct TeamFence {
  /// The newest roster this worker made a collective for; absent before the first.
  std::optional<v1::Roster> roster;
  /// True when that collective was destroyed or is dead.
  bool ended = false;
  /// Why it is dead; OK when it was destroyed in good order.
  absl::Status end;
};

/// What becomes of a stream after its hello.
struct HelloDecision {
  enum class Verdict {
    kAttach,  // it belongs to the present roster
    kPark,    // its roster is newer than ours: it waits until ours arrives
    kFinish,  // its roster ended here in good order: nothing more will be read
    kRefuse,  // it is stale or foreign
  };
  Verdict verdict = Verdict::kRefuse;
  /// Why; with kRefuse also what the sender is told.
  absl::Status reason;
};

/// Fences a stream by roster version and incarnation. Pure.
HelloDecision DecideHello(const v1::PeerHello& hello, const TeamFence& fence);

}  // namespace neolog::collective
