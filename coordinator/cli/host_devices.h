#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace neolog::cli {

/// What `neolog-worker doctor --json` says of this machine. Internal when it does not, with its
/// words.
absl::StatusOr<nlohmann::ordered_json> AskWorkerDoctor(const std::string& worker_program);

/// What workers of this host can compute on.
struct HostDevices {
  uint32_t cores = 1;
  /// Visible GPUs and MIG instances, as the worker's --device takes them: "cuda:0", "MIG-…"
  std::vector<std::string> cuda;
  /// Why there are none.
  std::string why_no_cuda;
  /// What is known of them, by their names above.
  struct Gpu {
    std::string name;
    int64_t memory = 0;  // bytes; 0: not known
    bool bfloat16 = true;
  };
  std::map<std::string, Gpu> gpus;
};

/// The workers that this host gets.
struct LocalPlan {
  /// The device of each.
  std::vector<std::string> devices;
  /// Bytes of memory that each has: a share of the host's, or that of the GPU which has least. 0:
  /// not known.
  int64_t memory_each = 0;
  /// A GPU among them that does not compute in bf16, by name; empty: all devices do.
  std::string without_bfloat16;
};

/// From a doctor's report.
HostDevices HostDevicesOf(const nlohmann::ordered_json& report, uint32_t cores);

/// The device of each worker that this host gets, one entry a worker. `kind` is "cpu" or "cuda";
/// `workers` 0 means: one per share of `threads` cores on the CPU (at least one), one per visible
/// GPU. A GPU has one worker, never more: FailedPrecondition when that leaves too few, or none.
absl::StatusOr<std::vector<std::string>> PlanWorkers(const HostDevices& host,
                                                     const std::string& kind, uint32_t workers,
                                                     uint32_t threads);

/// PlanWorkers with what is known of the devices chosen. `memory` is the host's, in bytes.
absl::StatusOr<LocalPlan> PlanFor(const HostDevices& host, int64_t memory, const std::string& kind,
                                  uint32_t workers, uint32_t threads);

/// PlanFor this machine. Asks the worker beside `self_path` only where GPUs are asked for.
absl::StatusOr<LocalPlan> PlanLocalWorkers(const std::string& self_path, const std::string& kind,
                                           uint32_t workers, uint32_t threads);

}  // namespace neolog::cli
