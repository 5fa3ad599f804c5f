#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "worker/session/decisions.h"

namespace neolog::session {

/// What stands before a member's payload in every gather, so that pause, stop and a differing state
/// are seen by all ranks at the same step. There is no flag for numbers that are not finite: every
/// rank has every payload, so the check in Trainer::ApplyStep is the same on all of them.
///
/// Layout, little-endian: u32 magic "NLG1", u32 runs, u64 roster version, u64 flags (1: connected
/// to the coordinator), then for each run of the pack u64 step, u64 hash, u64 catch-up bytes, u8
/// control, u8 left, 6 bytes zero.
struct GatherHeader {
  uint64_t roster_version = 0;
  bool connected = false;
  std::vector<RunLine> runs;  // in pack order
};

/// Bytes of a header about `runs` runs.
constexpr size_t GatherHeaderSize(size_t runs) { return 24 + 32 * runs; }

void EncodeGatherHeader(const GatherHeader& header, std::string& out);

/// Internal when the bytes are no header of `runs` runs under `roster_version`.
absl::StatusOr<GatherHeader> DecodeGatherHeader(std::span<const std::byte> bytes, size_t runs,
                                                uint64_t roster_version);

/// What a rank gives to those behind: the uncommitted pieces of a run and why it failed, if it did.
struct CatchUp {
  // the last one has the present state; its steps may be empty
  std::vector<v1::CommitReport> pieces;
  v1::RunFailure failure;
};
std::string EncodeCatchUp(const CatchUp& catch_up);
/// Internal when the bytes are not what EncodeCatchUp makes.
absl::StatusOr<CatchUp> DecodeCatchUp(std::string_view bytes);

}  // namespace neolog::session
