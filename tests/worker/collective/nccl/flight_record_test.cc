#include "worker/collective/nccl/flight_record.h"

#include <gmock/gmock.h>

#include <algorithm>

namespace neolog::collective::nccl {
namespace {

using std::chrono::milliseconds;

TEST(FlightRecordTest, Dump_SaysHowLongEachTook_AndWhatTheLastWaitsFor) {
  const SteadyClock::time_point start;
  FlightRecord record;
  EXPECT_EQ(record.Dump(start), "");
  record.Begin(0, "allgather 8 8", start);
  record.End(absl::OkStatus(), start + milliseconds(2));
  record.Begin(1, "broadcast 5 from 0", start + milliseconds(10));
  EXPECT_EQ(record.Dump(start + milliseconds(40)),
            "  0 allgather 8 8: 2.0 ms\n"
            "  1 broadcast 5 from 0: waits for 30.0 ms\n");
  record.End(Aborted("roster 2 has arrived"), start + milliseconds(50));
  EXPECT_EQ(record.Dump(start + milliseconds(60)),
            "  0 allgather 8 8: 2.0 ms\n"
            "  1 broadcast 5 from 0: 40.0 ms, roster 2 has arrived\n");
}

TEST(FlightRecordTest, KeepsTheLastSixtyFour) {
  FlightRecord record;
  for (uint64_t i = 0; i < 100; ++i) {
    record.Begin(i, "op", {});
    record.End(absl::OkStatus(), {});
  }
  const std::string dump = record.Dump({});
  EXPECT_EQ(std::count(dump.begin(), dump.end(), '\n'), 64);
  EXPECT_TRUE(dump.starts_with("  36 op"));
  EXPECT_NE(dump.find("  99 op"), std::string::npos);
}

}  // namespace
}  // namespace neolog::collective::nccl
