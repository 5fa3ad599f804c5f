#include "coordinator/runtime/event_ring.h"

#include <fmt/format.h>

#include <charconv>

namespace neolog::coordinator {

void EventRing::Publish(std::vector<Event> events) {
  if (events.empty()) return;
  std::vector<std::shared_ptr<std::function<void()>>> wake;
  {
    MutexLock lock(mutex_);
    for (Event& event : events) {
      const uint64_t position = first_ + entries_.size();
      if (event.steps_only) {
        const auto earlier = newest_steps_.find(event.run_id);
        if (earlier != newest_steps_.end() && earlier->second >= first_) {
          entries_[earlier->second - first_].event.reset();
          --held_;
        }
        newest_steps_[event.run_id] = position;
      }
      event.event.set_resume_token(fmt::format("{}-{}", epoch_, position + 1));
      entries_.push_back({std::move(event.run_id), event.steps_only,
                          std::make_shared<const v1::WatchEventsResponse>(std::move(event.event))});
      ++held_;
    }
    while (!entries_.empty() && (held_ > capacity_ || entries_.front().event == nullptr)) {
      if (entries_.front().event != nullptr) {
        --held_;
        lost_until_ = first_ + 1;
        const auto newest = newest_steps_.find(entries_.front().run_id);
        if (newest != newest_steps_.end() && newest->second == first_) newest_steps_.erase(newest);
      }
      entries_.pop_front();
      ++first_;
    }
    for (const auto& [id, subscriber] : subscribers_) wake.push_back(subscriber);
  }
  for (const auto& subscriber : wake) (*subscriber)();
}

EventRing::Next EventRing::ReadFrom(uint64_t position, const std::string& run_id) const {
  MutexLock lock(mutex_);
  if (position < lost_until_) return {Next::Kind::kFellBehind, position, nullptr};
  for (uint64_t at = std::max(position, first_); at < first_ + entries_.size(); ++at) {
    const Entry& entry = entries_[at - first_];
    if (entry.event == nullptr) continue;
    if (!run_id.empty() && entry.run_id != run_id) continue;
    return {Next::Kind::kEvent, at + 1, entry.event};
  }
  return {Next::Kind::kNone, first_ + entries_.size(), nullptr};
}

std::optional<uint64_t> EventRing::PositionAfter(const std::string& token) const {
  const size_t dash = token.rfind('-');
  if (dash == std::string::npos || token.substr(0, dash) != epoch_) return std::nullopt;
  uint64_t position = 0;
  const char* end = token.data() + token.size();
  const auto [stop, error] = std::from_chars(token.data() + dash + 1, end, position);
  MutexLock lock(mutex_);
  if (error != std::errc() || stop != end || position < lost_until_ ||
      position > first_ + entries_.size()) {
    return std::nullopt;
  }
  return position;
}

uint64_t EventRing::End() const {
  MutexLock lock(mutex_);
  return first_ + entries_.size();
}

std::string EventRing::TokenAt(uint64_t position) const {
  return fmt::format("{}-{}", epoch_, position);
}

uint64_t EventRing::Subscribe(std::function<void()> wake) {
  MutexLock lock(mutex_);
  subscribers_[next_subscriber_] = std::make_shared<std::function<void()>>(std::move(wake));
  return next_subscriber_++;
}

void EventRing::Unsubscribe(uint64_t id) {
  MutexLock lock(mutex_);
  subscribers_.erase(id);
}

}  // namespace neolog::coordinator
