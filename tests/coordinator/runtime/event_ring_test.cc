#include "coordinator/runtime/event_ring.h"

#include <gtest/gtest.h>

namespace neolog::coordinator {
namespace {

using Kind = EventRing::Next::Kind;

Event Make(const std::string& message, const std::string& run = "", bool steps_only = false) {
  Event event;
  event.run_id = run;
  event.steps_only = steps_only;
  event.event.set_message(message);
  return event;
}

std::vector<std::string> ReadAll(const EventRing& ring, uint64_t position,
                                 const std::string& run = "") {
  std::vector<std::string> messages;
  while (true) {
    const EventRing::Next next = ring.ReadFrom(position, run);
    if (next.kind == Kind::kFellBehind) messages.push_back("(behind)");
    if (next.kind != Kind::kEvent) return messages;
    messages.push_back(next.event->message());
    position = next.position;
  }
}

TEST(EventRing, SlowReader_GetsOneStepEventPerRunAndAllOthers) {
  EventRing ring(100, "life");
  const uint64_t start = ring.End();
  for (int step = 1; step <= 50; ++step) {
    ring.Publish(
        {Make("a" + std::to_string(step), "a", true), Make("b" + std::to_string(step), "b", true)});
    if (step % 25 == 0) ring.Publish({Make("roster " + std::to_string(step), "a")});
  }
  EXPECT_EQ(ReadAll(ring, start),
            (std::vector<std::string>{"roster 25", "a50", "b50", "roster 50"}));
  EXPECT_EQ(ReadAll(ring, start, "b"), (std::vector<std::string>{"b50"}));
}

TEST(EventRing, FastReader_GetsEveryStep) {
  EventRing ring(100, "life");
  uint64_t position = ring.End();
  for (int step = 1; step <= 5; ++step) {
    ring.Publish({Make("s", "a", true)});
    const auto next = ring.ReadFrom(position, "");
    ASSERT_EQ(next.kind, Kind::kEvent);
    position = next.position;
  }
}

TEST(EventRing, Token_GoesOnBehindItsEvent) {
  EventRing ring(100, "life");
  ring.Publish({Make("one"), Make("two"), Make("three")});
  const auto first = ring.ReadFrom(1, "");
  const auto position = ring.PositionAfter(first.event->resume_token());
  ASSERT_TRUE(position.has_value());
  EXPECT_EQ(ReadAll(ring, *position), (std::vector<std::string>{"two", "three"}));
}

TEST(EventRing, ForeignOldOrBrokenTokens_AreNotTaken) {
  EventRing ring(2, "life");
  for (int i = 0; i < 5; ++i) ring.Publish({Make(std::to_string(i))});
  for (const char* token :
       {"", "x", "life-", "life-x", "other-5", "life-2", "life-99", "life-5x"}) {
    EXPECT_FALSE(ring.PositionAfter(token).has_value()) << token;
  }
  EXPECT_TRUE(ring.PositionAfter("life-4").has_value());
  EXPECT_EQ(ReadAll(ring, 1), (std::vector<std::string>{"(behind)"}));
}

TEST(EventRing, OverwrittenStepEvents_DoNotPushOthersOut) {
  EventRing ring(3, "life");
  const uint64_t start = ring.End();
  ring.Publish({Make("kept")});
  for (int step = 0; step < 1000; ++step) ring.Publish({Make("s", "a", true)});
  EXPECT_EQ(ReadAll(ring, start), (std::vector<std::string>{"kept", "s"}));
}

TEST(EventRing, Subscriber_MayReadAndUnsubscribeWhenWoken) {
  EventRing ring(10, "life");
  int woken = 0;
  uint64_t id = 0;
  id = ring.Subscribe([&] {
    ++woken;
    EXPECT_EQ(ring.ReadFrom(1, "").kind, Kind::kEvent);
    ring.Unsubscribe(id);
  });
  ring.Publish({Make("one")});
  ring.Publish({Make("two")});
  EXPECT_EQ(woken, 1);
}

}  // namespace
}  // namespace neolog::coordinator
