#include "tests/support/scoped_dir.h"
#include "tests/worker/collective/nccl/nccl_bed.h"
#include "worker/collective/peer_grpc.h"

namespace neolog::collective {
namespace {

class NcclPeerBed : public nccl::NcclBed {
 public:
  explicit NcclPeerBed(int workers) {
    for (int w = 0; w < workers; ++w) {
      auto links = PeerLinks::Start({.listen = {.path = dir_.File(WorkerName(w))}});
      EXPECT_OK(links);
      const std::string address = (*links)->address();
      Add(std::move(links).value(), address);
    }
  }

 private:
  testing::ScopedDir dir_;
};

INSTANTIATE_TEST_SUITE_P(NcclOverPeerLinks, CollectiveConformanceTest,
                         ::testing::Values(BedKind{
                             "unix", [](int n) { return std::make_unique<NcclPeerBed>(n); }}),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace neolog::collective
