#include "worker/session/record_book.h"

#include <algorithm>

namespace neolog::session {

void RecordBook::Reset(uint64_t committed_step) {
  committed_ = committed_step;
  records_.clear();
  kept_.clear();
}

void RecordBook::Append(const v1::StepRecord& record, std::string state) {
  records_.push_back(record);
  if (!state.empty()) kept_[record.step()] = std::move(state);
}

void RecordBook::OnCommitted(uint64_t step) {
  while (!records_.empty() && records_.front().step() <= step) records_.pop_front();
  kept_.erase(kept_.begin(), kept_.upper_bound(step));
  committed_ = std::max(committed_, step);
}

uint64_t RecordBook::HashAfter(uint64_t step) const {
  if (records_.empty() || step < records_.front().step() || step > records_.back().step()) return 0;
  return records_[step - records_.front().step()].state_hash();
}

std::vector<v1::CommitReport> RecordBook::Pieces(const std::string& state) const {
  std::vector<v1::CommitReport> pieces;
  bool open = false;
  for (const v1::StepRecord& record : records_) {
    if (!open) pieces.emplace_back();
    open = true;
    *pieces.back().add_steps() = record;
    if (const auto kept = kept_.find(record.step()); kept != kept_.end()) {
      pieces.back().set_state(kept->second);
      open = false;
    }
  }
  if (open) pieces.back().set_state(state);
  return pieces;
}

void RecordBook::Adopt(uint64_t step, const std::vector<v1::CommitReport>& pieces) {
  Reset(step);
  for (const v1::CommitReport& piece : pieces) {
    for (const v1::StepRecord& record : piece.steps()) {
      committed_ = std::min(committed_, record.step() - 1);
      records_.push_back(record);
    }
    if (piece.steps_size() > 0 && &piece != &pieces.back())
      kept_[piece.steps().rbegin()->step()] = piece.state();
  }
}

}  // namespace neolog::session
