#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/worker/collective/conformance.h"
#include "tests/worker/collective/nccl/fake_library.h"
#include "worker/collective/nccl/nccl_collective.h"

namespace neolog::collective::nccl {

/// Workers that are linked and move their bytes over the fake libnccl.
class NcclBed : public Bed {
 public:
  CollectiveFactory& factory(int worker) override { return *workers_[worker].factory; }
  std::string address(int worker) override { return workers_[worker].address; }
  void EndProcess(int worker) override { workers_[worker] = {}; }
  FakeLibrary& library() { return library_; }

 protected:
  void Add(std::unique_ptr<LinkFactory> links, std::string address,
           const NcclOptions& options = {}) {
    auto factory = std::make_unique<NcclFactory>(library_.libraries(), links.get(), options);
    workers_.push_back({std::move(links), std::move(factory), std::move(address)});
  }

 private:
  struct Worker {
    std::unique_ptr<LinkFactory> links;
    std::unique_ptr<NcclFactory> factory;
    std::string address;
  };
  FakeLibrary library_;
  std::vector<Worker> workers_;
};

}  // namespace neolog::collective::nccl
