#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace neolog::coordinator {

/// The coordinator's times and limits. Every wait is on the monotonic clock.
struct CoreOptions {
  /// How often workers are told to send heartbeats.
  absl::Duration heartbeat_interval = absl::Milliseconds(250);
  /// A worker that was silent this long is lost.
  absl::Duration lease = absl::Seconds(1);
  /// What is left of the lease when the worker's stream closes.
  absl::Duration closed_stream_wait = absl::Milliseconds(250);
  /// After a peer's complaint about a member whose stream is open: how long to wait for evidence.
  absl::Duration suspicion_wait = absl::Milliseconds(300);
  /// After a restart: how long members of journaled rosters have to come back.
  absl::Duration restart_grace = absl::Seconds(5);
  /// How long no fitting worker must have registered before a team starts with fewer than it could
  /// have.
  absl::Duration settle = absl::Milliseconds(500);
  /// Rosters made for one team because links between live members broke, without a commit in
  /// between, before the accused member leaves the team.
  uint32_t max_rebuilds = 3;
  /// A member whose progress counter stands still this long, and longer than `hang_steps` median
  /// steps, while it computes is taken for hung.
  absl::Duration hang_limit = absl::Seconds(30);
  int hang_steps = 10;
  /// The same while it loads a model, encodes pictures, or nobody knows yet how long a step takes:
  /// a model of 4 GB from a slow disk takes minutes, in one go.
  absl::Duration hang_limit_unknown = absl::Minutes(10);
  /// Runs in one pack.
  uint32_t max_pack_runs = 8;
};

}  // namespace neolog::coordinator
