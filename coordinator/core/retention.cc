#include "coordinator/core/retention.h"

namespace neolog::coordinator {

bool IsCheckpoint(const v1::RunSpec& spec, uint64_t before, uint64_t after) {
  if (after == spec.training().steps()) return true;
  const uint64_t every = spec.checkpoint().every_steps();
  return every != 0 && after / every > before / every;
}

}  // namespace neolog::coordinator
