#pragma once

#include <cstdint>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "coordinator/core/state.h"
#include "neolog/v1/agent.pb.h"
#include "neolog/v1/journal.pb.h"
#include "neolog/v1/status.pb.h"

namespace neolog::coordinator {

/// Names a state that the journal holds: a run and the step it is after.
struct StateKey {
  std::string run_id;
  uint64_t step = 0;
  friend bool operator<(const StateKey& a, const StateKey& b) {
    return std::tie(a.run_id, a.step) < std::tie(b.run_id, b.step);
  }
  friend bool operator==(const StateKey&, const StateKey&) = default;
};

/// What one transaction of the journal writes: all of it or nothing.
struct JournalBatch {
  std::vector<v1::JournalRecord> records;
  /// States to keep, with their bytes.
  std::vector<std::pair<StateKey, std::string>> put_states;
  /// States that may go.
  std::vector<StateKey> drop_states;

  bool empty() const { return records.empty() && put_states.empty() && drop_states.empty(); }
};

/// A message for one worker's stream.
struct Outgoing {
  LinkId link = 0;
  v1::CoordinatorMessage message;
  /// The stream ends behind this message (a message without body: it just ends).
  bool close = false;
};

/// Something to tell the watchers, and the log.
struct Event {
  /// The run it is about; empty when it is about none.
  std::string run_id;
  /// Only steps moved: a newer one of the same run makes it needless.
  bool steps_only = false;
  v1::WatchEventsResponse event;
};

/// What an event leads to. The batch is to be made durable first; only then may messages and events
/// go out, in order.
struct Effects {
  JournalBatch batch;
  std::vector<Outgoing> messages;
  std::vector<Event> events;
  /// Not OK: a decision contradicts the books, which is a bug; nothing may be written or sent any
  /// more.
  absl::Status fatal;

  bool empty() const { return batch.empty() && messages.empty() && events.empty() && fatal.ok(); }
};

}  // namespace neolog::coordinator
