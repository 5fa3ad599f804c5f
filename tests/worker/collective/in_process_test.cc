#include "worker/collective/in_process.h"

#include "tests/worker/collective/conformance.h"

namespace neolog::collective {
namespace {

class InProcessBed : public ExchangeBed {
 public:
  explicit InProcessBed(int workers) {
    for (int w = 0; w < workers; ++w)
      Add(std::make_unique<InProcessLinks>(&hub_), "thread:" + WorkerName(w));
  }

 private:
  InProcessHub hub_;
};

INSTANTIATE_TEST_SUITE_P(InProcess, CollectiveConformanceTest,
                         ::testing::Values(BedKind{
                             "threads", [](int n) { return std::make_unique<InProcessBed>(n); }}),
                         [](const auto& param) { return param.param.name; });

}  // namespace
}  // namespace neolog::collective
