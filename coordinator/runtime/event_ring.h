#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/base/mutex.h"
#include "coordinator/core/effects.h"

namespace neolog::coordinator {

/// The last events, for watchers. Of a run's step events only the newest is held: a reader that is
/// behind is given fewer of those, and all of the others as long as they are among the last
/// `capacity`. Any thread.
class EventRing {
 public:
  /// `epoch` tells the tokens of one coordinator's life from those of another.
  EventRing(size_t capacity, std::string epoch) : capacity_(capacity), epoch_(std::move(epoch)) {}

  /// Adds events, gives each its token, and wakes the subscribers.
  void Publish(std::vector<Event> events);

  /// What a reader gets next.
  struct Next {
    enum class Kind {
      kEvent,       ///< `event`; go on at `position`
      kNone,        ///< nothing yet; go on at `position` when woken
      kFellBehind,  ///< events at `position` are gone: take a snapshot
    };
    Kind kind = Kind::kNone;
    uint64_t position = 0;
    std::shared_ptr<const v1::WatchEventsResponse> event;
  };
  /// The next event at or after `position` that is about `run_id`, or about anything when that is
  /// empty.
  Next ReadFrom(uint64_t position, const std::string& run_id) const;

  /// The position behind the event of this token; nothing for tokens of another life, or when
  /// events behind it are gone.
  std::optional<uint64_t> PositionAfter(const std::string& token) const;
  /// The position behind the last event, and the token of that place.
  uint64_t End() const;
  std::string TokenAt(uint64_t position) const;

  /// `wake` is called after every Publish, on the publisher's thread, without locks of this object;
  /// it must not block. It may still be running once on another thread when Unsubscribe returns.
  uint64_t Subscribe(std::function<void()> wake);
  void Unsubscribe(uint64_t id);

 private:
  struct Entry {
    std::string run_id;
    bool steps_only = false;
    // null: a newer step event took its place
    std::shared_ptr<const v1::WatchEventsResponse> event;
  };

  const size_t capacity_;
  const std::string epoch_;
  mutable Mutex mutex_;
  std::deque<Entry> entries_ GUARDED_BY(mutex_);
  uint64_t first_ GUARDED_BY(mutex_) = 1;       // position of entries_.front()
  uint64_t lost_until_ GUARDED_BY(mutex_) = 1;  // a reader before this missed something
  size_t held_ GUARDED_BY(mutex_) = 0;          // entries with an event
  std::map<std::string, uint64_t> newest_steps_ GUARDED_BY(mutex_);
  std::map<uint64_t, std::shared_ptr<std::function<void()>>> subscribers_ GUARDED_BY(mutex_);
  uint64_t next_subscriber_ GUARDED_BY(mutex_) = 1;
};

}  // namespace neolog::coordinator
