#include "tests/support/scoped_dir.h"
#include "tests/worker/collective/conformance.h"
#include "worker/collective/peer_grpc.h"

namespace neolog::collective {
namespace {

class PeerBed : public Bed {
 public:
  PeerBed(int workers, bool unix_sockets) {
    for (int w = 0; w < workers; ++w) {
      Target listen{.host = "127.0.0.1"};
      if (unix_sockets) listen = {.path = dir_.File(WorkerName(w))};
      auto factory = PeerFactory::Start({.listen = listen});
      EXPECT_OK(factory);
      addresses_.push_back((*factory)->address());
      factories_.push_back(std::move(factory).value());
    }
  }
  CollectiveFactory& factory(int worker) override { return *factories_[worker]; }
  std::string address(int worker) override { return addresses_[worker]; }
  void EndProcess(int worker) override { factories_[worker].reset(); }

 private:
  testing::ScopedDir dir_;
  std::vector<std::string> addresses_;
  std::vector<std::unique_ptr<PeerFactory>> factories_;
};

INSTANTIATE_TEST_SUITE_P(
    Peer, CollectiveConformanceTest,
    ::testing::Values(BedKind{"unix", [](int n) { return std::make_unique<PeerBed>(n, true); }},
                      BedKind{"tcp", [](int n) { return std::make_unique<PeerBed>(n, false); }}),
    [](const auto& param) { return param.param.name; });

TEST(PeerFactoryTest, AddressThatCannotBeBound_SaysSo) {
  EXPECT_THAT(
      PeerFactory::Start({.listen = {.path = "/no/such/folder/s"}}),
      testing::StatusIs(absl::StatusCode::kUnavailable, ::testing::HasSubstr("/no/such/folder/s")));
  EXPECT_THAT(
      PeerFactory::Start({.listen = {.host = "0.0.0.0"}}),
      testing::StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("listen on")));
}

}  // namespace
}  // namespace neolog::collective
