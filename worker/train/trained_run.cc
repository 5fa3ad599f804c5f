#include "worker/train/trained_run.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <cmath>
#include <cstring>
#include <numeric>
#include <tuple>

#include "common/base/hash.h"

namespace neolog::train {
namespace {

std::string BytesOf(std::span<const float> values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size_bytes());
}

absl::StatusOr<std::vector<float>> FloatsOf(std::string_view bytes, size_t count,
                                            std::string_view what) {
  if (bytes.size() != count * sizeof(float)) {
    return InvalidArgument(
        fmt::format("{} have {} bytes; expected {}", what, bytes.size(), count * sizeof(float)));
  }
  std::vector<float> values(count);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  if (!AllFinite(values)) {
    return InvalidArgument(fmt::format("{} hold a value that is not finite", what));
  }
  return values;
}

float FirstNotFinite(std::span<const float> values) {
  for (float v : values) {
    if (!std::isfinite(v)) return v;
  }
  return 0;
}

absl::Status CheckBeta(std::string_view name, double beta) {
  if (beta >= 0 && beta < 1) return absl::OkStatus();
  return InvalidArgument(fmt::format("training.{} is {}; expected 0 to below 1", name, beta));
}

}  // namespace

absl::StatusOr<TrainedRun> TrainedRun::Create(const v1::RunSpec& spec, std::vector<uint32_t> widths,
                                              std::vector<float> initial_rows, bool scales_loss) {
  if (spec.word_size() != 1) {
    return InvalidArgument(
        fmt::format("run '{}' has {} words; expected exactly one", spec.name(), spec.word_size()));
  }
  const uint32_t vectors = spec.word(0).vectors();
  if (vectors == 0) return InvalidArgument("word.vectors is 0; expected 1 to 75");
  const size_t width = std::accumulate(widths.begin(), widths.end(), size_t{0});
  if (initial_rows.size() != size_t{vectors} * width) {
    return InvalidArgument(
        fmt::format("the first rows of '{}' hold {} floats; expected word.vectors {} times the "
                    "model's text width {}",
                    spec.word(0).name(), initial_rows.size(), vectors, fmt::join(widths, " + ")));
  }
  if (!AllFinite(initial_rows)) {
    return InvalidArgument(
        fmt::format("the first rows of '{}' hold a value that is not finite; use another init_file "
                    "or init_text",
                    spec.word(0).name()));
  }
  const v1::TrainingSpec& training = spec.training();
  RETURN_IF_ERROR(CheckBeta("beta1", training.beta1()));
  RETURN_IF_ERROR(CheckBeta("beta2", training.beta2()));
  if (!(training.epsilon() >= 0) || !(training.weight_decay() >= 0)) {
    return InvalidArgument(
        fmt::format("training.epsilon is {} and training.weight_decay {}; expected 0 or above",
                    training.epsilon(), training.weight_decay()));
  }
  ASSIGN_OR_RETURN(StepPlan plan, StepPlan::Create(spec));
  ASSIGN_OR_RETURN(LrSchedule schedule, LrSchedule::Create(training));
  TrainedRun run(spec, std::move(plan), std::move(schedule));
  run.options_ = {training.beta1(), training.beta2(), training.epsilon(), training.weight_decay()};
  run.vectors_ = vectors;
  run.widths_ = std::move(widths);
  run.rows_ = std::move(initial_rows);
  if (scales_loss) run.loss_scale_.emplace();
  run.exp_avg_.assign(run.rows_.size(), 0.0f);
  run.exp_avg_sq_.assign(run.rows_.size(), 0.0f);
  run.state_hash_ = Hash64(run.SaveState());
  return run;
}

TrainedRun::Outcome TrainedRun::TakeStep(std::span<const SampleResult> samples,
                                         const Describe& describe) {
  if (const std::optional<BadNumber> bad = FindBadNumber(samples)) {
    RefusedStep refused{.bad = *bad};
    const PlannedSample sample = plan_.Sample(step_, static_cast<uint32_t>(bad->sample));
    std::tie(refused.picture, refused.prompt) = describe(sample);
    refused.timestep = sample.timestep;
    if (loss_scale_.has_value()) {
      refused.loss_scale =
          std::ldexp(loss_scale_->factor(), -static_cast<int>(samples[bad->sample].halvings));
    }
    return Refuse(std::move(refused));
  }
  const std::vector<float> gradient = ShareOfGradient(samples);
  double loss = 0;
  bool overflowed = false;
  for (const SampleResult& sample : samples) {
    loss += sample.loss;
    overflowed |= sample.halvings > 0;
  }
  return Update(static_cast<float>(loss / static_cast<double>(samples.size())), gradient,
                overflowed);
}

std::vector<float> TrainedRun::ShareOfStep(std::span<const SampleResult> samples) const {
  const float share = 1.0f / static_cast<float>(samples_per_step());
  std::vector<float> values = {0, 0};
  for (const SampleResult& sample : samples) {
    values[0] += sample.loss * share;
    values[1] += static_cast<float>(sample.halvings);
  }
  const std::vector<float> gradient = ShareOfGradient(samples);
  values.insert(values.end(), gradient.begin(), gradient.end());
  return values;
}

TrainedRun::Outcome TrainedRun::TakeSummedStep(std::span<const float> sum) {
  if (!std::isfinite(sum[0])) return Refuse({.bad = {BadNumber::Where::kLossSum, 0, sum[0]}});
  return Update(sum[0], sum.subspan(2), sum[1] > 0);
}

// In float32 and in sample order.
std::vector<float> TrainedRun::ShareOfGradient(std::span<const SampleResult> samples) const {
  const float share = 1.0f / static_cast<float>(samples_per_step());
  std::vector<float> gradient(rows_.size(), 0.0f);
  for (const SampleResult& sample : samples) {
    for (size_t i = 0; i < gradient.size(); ++i) gradient[i] += sample.gradient[i] * share;
  }
  return gradient;
}

TrainedRun::Outcome TrainedRun::Refuse(RefusedStep refused) const {
  refused.run_name = spec_.name();
  refused.step = step_ + 1;
  refused.learning_rate = schedule_.At(step_);
  refused.precision = spec_.model().precision();
  return {.record = {}, .failure = DescribeRefusedStep(refused)};
}

TrainedRun::Outcome TrainedRun::Update(float loss, std::span<const float> gradient,
                                       bool overflowed) {
  if (!AllFinite(gradient))
    return Refuse({.bad = {BadNumber::Where::kSum, 0, FirstNotFinite(gradient)}});
  double squares = 0;
  for (double g : gradient) squares += g * g;

  const double learning_rate = schedule_.At(step_);
  std::vector<float> rows = rows_, exp_avg = exp_avg_, exp_avg_sq = exp_avg_sq_;
  AdamWStep(options_, learning_rate, step_ + 1, gradient, {rows, exp_avg, exp_avg_sq});
  for (const std::vector<float>* updated : {&rows, &exp_avg, &exp_avg_sq}) {
    if (!AllFinite(*updated))
      return Refuse({.bad = {BadNumber::Where::kUpdate, 0, FirstNotFinite(*updated)}});
  }
  rows_ = std::move(rows);
  exp_avg_ = std::move(exp_avg);
  exp_avg_sq_ = std::move(exp_avg_sq);
  if (loss_scale_.has_value()) loss_scale_->AfterStep(overflowed);
  ++step_;
  state_hash_ = Hash64(SaveState());

  Outcome outcome;
  outcome.record.set_step(step_);
  outcome.record.set_loss(loss);
  outcome.record.set_learning_rate(static_cast<float>(learning_rate));
  outcome.record.set_state_hash(state_hash_);
  outcome.record.set_gradient_norm(static_cast<float>(std::sqrt(squares)));
  return outcome;
}

std::string TrainedRun::SaveState() const {
  v1::TrainState state;
  state.set_step(step_);
  state.set_optimizer_step(step_);
  if (loss_scale_.has_value()) {
    state.set_loss_scale(loss_scale_->factor());
    state.set_loss_scale_steps(loss_scale_->steps());
  }
  size_t begin = 0;
  for (uint32_t encoder = 0; encoder < widths_.size(); ++encoder) {
    const size_t count = size_t{vectors_} * widths_[encoder];
    const auto part = [&](const std::vector<float>& all) {
      return BytesOf(std::span(all).subspan(begin, count));
    };
    v1::RowBlock* block = state.add_blocks();
    block->set_word(spec_.word(0).name());
    block->set_encoder(encoder);
    block->set_vectors(vectors_);
    block->set_width(widths_[encoder]);
    block->set_rows(part(rows_));
    block->set_exp_avg(part(exp_avg_));
    block->set_exp_avg_sq(part(exp_avg_sq_));
    begin += count;
  }
  std::string bytes;
  {
    google::protobuf::io::StringOutputStream stream(&bytes);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    state.SerializeToCodedStream(&coded);
  }
  return bytes;
}

// One block an encoder, in their order, of this run's word and shape.
absl::Status TrainedRun::CheckBlocks(const v1::TrainState& state) const {
  bool fits = state.blocks_size() == static_cast<int>(widths_.size());
  for (int i = 0; fits && i < state.blocks_size(); ++i) {
    const v1::RowBlock& block = state.blocks(i);
    fits = block.word() == spec_.word(0).name() && block.encoder() == static_cast<uint32_t>(i) &&
           block.vectors() == vectors_ && block.width() == widths_[static_cast<size_t>(i)];
  }
  if (fits) return absl::OkStatus();
  std::vector<std::string> found;
  for (const v1::RowBlock& block : state.blocks()) {
    found.push_back(fmt::format("'{}' with {} vectors of {} floats for encoder {}", block.word(),
                                block.vectors(), block.width(), block.encoder()));
  }
  return InvalidArgument(fmt::format(
      "the saved state of '{}' holds {} blocks{}{}; expected {} of '{}' with {} vectors of {} "
      "floats",
      spec_.name(), state.blocks_size(), found.empty() ? "" : ": ", fmt::join(found, ", "),
      widths_.size(), spec_.word(0).name(), vectors_, fmt::join(widths_, " and ")));
}

absl::Status TrainedRun::CheckLossScale(const v1::TrainState& state) const {
  if (loss_scale_.has_value() ? LossScale::IsValid(state.loss_scale(), state.loss_scale_steps())
                              : state.loss_scale() == 0 && state.loss_scale_steps() == 0) {
    return absl::OkStatus();
  }
  return InvalidArgument(fmt::format(
      "the saved state of '{}' has loss scale {:g} for {} steps; expected {}", spec_.name(),
      state.loss_scale(), state.loss_scale_steps(),
      loss_scale_.has_value()
          ? fmt::format("a power of two from {:g} to {:g} for less than {} steps",
                        LossScale::kSmallest, LossScale::kLargest, LossScale::kGrowthInterval)
          : "none: it does not train in fp16"));
}

absl::Status TrainedRun::LoadState(std::string_view bytes) {
  v1::TrainState state;
  if (!state.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return InvalidArgument(fmt::format("the saved state of '{}' ({} bytes) is not a TrainState",
                                       spec_.name(), bytes.size()));
  }
  RETURN_IF_ERROR(CheckBlocks(state));
  RETURN_IF_ERROR(CheckLossScale(state));
  if (state.optimizer_step() != state.step() || state.step() > total_steps()) {
    return InvalidArgument(
        fmt::format("the saved state of '{}' is after step {} (optimiser {}); expected equal "
                    "numbers of at most {}",
                    spec_.name(), state.step(), state.optimizer_step(), total_steps()));
  }
  const std::string of = fmt::format(" of the saved state of '{}'", spec_.name());
  std::vector<float> rows, exp_avg, exp_avg_sq;
  for (const v1::RowBlock& block : state.blocks()) {
    const size_t count = size_t{block.vectors()} * block.width();
    for (const auto& [from, to, what] :
         {std::tuple(&block.rows(), &rows, "the rows"),
          {&block.exp_avg(), &exp_avg, "the first moments"},
          {&block.exp_avg_sq(), &exp_avg_sq, "the second moments"}}) {
      ASSIGN_OR_RETURN(const std::vector<float> values, FloatsOf(*from, count, what + of));
      to->insert(to->end(), values.begin(), values.end());
    }
  }
  rows_ = std::move(rows);
  exp_avg_ = std::move(exp_avg);
  exp_avg_sq_ = std::move(exp_avg_sq);
  if (loss_scale_.has_value())
    loss_scale_ = LossScale(state.loss_scale(), state.loss_scale_steps());
  step_ = state.step();
  state_hash_ = Hash64(SaveState());
  return absl::OkStatus();
}

std::vector<uint32_t> InitialTokenOf(uint32_t vectors, uint32_t tokens) {
  std::vector<uint32_t> positions;
  for (uint64_t i = 0; i < vectors; ++i) {
    positions.push_back(static_cast<uint32_t>(i * tokens / vectors));
  }
  return positions;
}

}  // namespace neolog::train
