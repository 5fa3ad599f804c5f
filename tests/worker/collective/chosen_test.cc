#include "worker/collective/chosen.h"

#include <gmock/gmock.h>

#include "tests/support/status_matchers.h"

namespace neolog::collective {
namespace {

v1::WorkerIdentity Worker() {
  v1::WorkerIdentity worker;
  worker.set_worker_id("w0");
  return worker;
}

/// Notes that it was asked.
class CountingFactory : public CollectiveFactory {
 public:
  absl::StatusOr<std::unique_ptr<Collective>> Create(const v1::Roster&,
                                                     const v1::WorkerIdentity&) override {
    ++asked;
    return Unavailable("only counts");
  }
  int asked = 0;
};

TEST(ChosenFactoryTest, RosterSaysWhat) {
  CountingFactory peer, nccl;
  ChosenFactory both(&peer, &nccl), only_peers(&peer, nullptr);
  v1::Roster roster;
  roster.set_version(3);
  for (const char* collective : {"", "peer"}) {  // older journals say nothing
    roster.set_collective(collective);
    (void)both.Create(roster, Worker());
    (void)only_peers.Create(roster, Worker());
  }
  EXPECT_EQ(peer.asked, 4);
  EXPECT_EQ(nccl.asked, 0);
  roster.set_collective("nccl");
  (void)both.Create(roster, Worker());
  EXPECT_EQ(nccl.asked, 1);
  EXPECT_THAT(
      only_peers.Create(roster, Worker()),
      testing::StatusIs(absl::StatusCode::kFailedPrecondition,
                        ::testing::HasSubstr("roster 3 gathers over 'nccl', which worker w0")));
  roster.set_collective("pigeons");
  EXPECT_THAT(
      both.Create(roster, Worker()),
      testing::StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("pigeons")));
}

}  // namespace
}  // namespace neolog::collective
