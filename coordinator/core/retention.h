#pragma once

#include <cstdint>

#include "neolog/v1/run_spec.pb.h"

namespace neolog::coordinator {

/// Whether the state of a commit of steps (before, after] is kept for good and written as an
/// embedding: the range holds a multiple of checkpoint.every_steps, or ends with the run's last
/// step. Every other state goes when the next one is committed; the latest is always there.
bool IsCheckpoint(const v1::RunSpec& spec, uint64_t before, uint64_t after);

}  // namespace neolog::coordinator
