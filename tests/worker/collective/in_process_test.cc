#include "worker/collective/in_process.h"

#include "tests/worker/collective/conformance.h"

namespace neolog::collective {
namespace {

class InProcessBed : public Bed {
 public:
  explicit InProcessBed(int workers) {
    for (int w = 0; w < workers; ++w)
      factories_.push_back(std::make_unique<InProcessFactory>(&hub_));
  }
  CollectiveFactory& factory(int worker) override { return *factories_[worker]; }
  std::string address(int worker) override { return "thread:" + WorkerName(worker); }
  void EndProcess(int worker) override { factories_[worker].reset(); }

 private:
  InProcessHub hub_;
  std::vector<std::unique_ptr<InProcessFactory>> factories_;
};

INSTANTIATE_TEST_SUITE_P(InProcess, CollectiveConformanceTest,
                         ::testing::Values(BedKind{
                             "threads", [](int n) { return std::make_unique<InProcessBed>(n); }}),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace neolog::collective
