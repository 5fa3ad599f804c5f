#include "worker/train/prepared_inputs.h"

namespace neolog::train {

std::optional<MicrobatchInput> PreparedInputs::Take(const Place& place) {
  std::optional<MicrobatchInput> input;
  if (kept_.has_value() && kept_->first == place) input = std::move(kept_->second);
  kept_.reset();
  return input;
}

std::optional<PreparedInputs::Place> PreparedInputs::Follow(const Place& place) {
  if (last_.has_value() && place.step >= last_->step) {
    followers_[{last_->run, last_->first}] = {place.run, place.first, place.step - last_->step};
  }
  last_ = place;
  const auto known = followers_.find({place.run, place.first});
  if (known == followers_.end()) return std::nullopt;
  const auto& [run, first, later] = known->second;
  return Place{run, place.step + later, first};
}

}  // namespace neolog::train
