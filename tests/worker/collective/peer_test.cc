#include "tests/support/scoped_dir.h"
#include "tests/worker/collective/conformance.h"
#include "worker/collective/peer_grpc.h"

namespace neolog::collective {
namespace {

class PeerBed : public ExchangeBed {
 public:
  PeerBed(int workers, bool unix_sockets) {
    for (int w = 0; w < workers; ++w) {
      Target listen{.host = "127.0.0.1"};
      if (unix_sockets) listen = {.path = dir_.File(WorkerName(w))};
      auto links = PeerLinks::Start({.listen = listen});
      EXPECT_OK(links);
      const std::string address = (*links)->address();
      Add(std::move(links).value(), address);
    }
  }

 private:
  testing::ScopedDir dir_;
};

INSTANTIATE_TEST_SUITE_P(
    Peer, CollectiveConformanceTest,
    ::testing::Values(BedKind{"unix", [](int n) { return std::make_unique<PeerBed>(n, true); }},
                      BedKind{"tcp", [](int n) { return std::make_unique<PeerBed>(n, false); }}),
    [](const auto& param) { return param.param.name; });

TEST(PeerLinksTest, AddressThatCannotBeBound_SaysSo) {
  EXPECT_THAT(
      PeerLinks::Start({.listen = {.path = "/no/such/folder/s"}}),
      testing::StatusIs(absl::StatusCode::kUnavailable, ::testing::HasSubstr("/no/such/folder/s")));
  EXPECT_THAT(
      PeerLinks::Start({.listen = {.host = "0.0.0.0"}}),
      testing::StatusIs(absl::StatusCode::kFailedPrecondition, ::testing::HasSubstr("listen on")));
}

}  // namespace
}  // namespace neolog::collective
