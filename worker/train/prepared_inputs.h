#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <tuple>
#include <utility>

#include "worker/train/loss.h"

namespace neolog::train {

/// The input of the microbatch that is expected next, made and sent to the device while the device
/// works on the present one. A member computes the same microbatches step after step, so the one
/// that followed the last time is expected; after a regroup or a change of the pack one guess is
/// wrong, and what was prepared is thrown away. One thread.
class PreparedInputs {
 public:
  /// A microbatch: the run's index in the pack, its step, its first sample.
  struct Place {
    size_t run = 0;
    uint64_t step = 0;
    uint32_t first = 0;
    auto operator<=>(const Place&) const = default;
  };

  /// What was prepared for `place`; nothing when that was another one.
  std::optional<MicrobatchInput> Take(const Place& place);
  /// `place` is being computed. Returns the one that is expected next, where that is known.
  std::optional<Place> Follow(const Place& place);
  /// Keeps the input of `place`, in the place of one that was kept before.
  void Keep(const Place& place, MicrobatchInput input) { kept_.emplace(place, std::move(input)); }
  /// Forgets everything.
  void Clear() { *this = PreparedInputs(); }

 private:
  using Key = std::pair<size_t, uint32_t>;  // run and first sample
  std::optional<std::pair<Place, MicrobatchInput>> kept_;
  std::optional<Place> last_;
  /// What followed each the last time: run, first sample, and how many steps later.
  std::map<Key, std::tuple<size_t, uint32_t, uint64_t>> followers_;
};

}  // namespace neolog::train
