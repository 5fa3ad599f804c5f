#include "tests/worker/session/fake_trainer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "common/base/hash.h"
#include "worker/session/blame.h"

namespace neolog::testing {
namespace {

/// Bytes of one microbatch: of different sizes for different runs.
size_t PayloadOf(const v1::RunSpec& spec) { return 64 * (1 + spec.training().batch_size() % 3); }

/// Floats that a run's payloads add up to.
constexpr size_t kSumFloats = 16;

}  // namespace

absl::Status FakeTrainer::Prepare(const v1::Assignment& assignment) {
  ++prepares;
  {
    MutexLock lock(mutex_);
    interrupted_ = false;
  }
  RETURN_IF_ERROR(options_.prepare_error);
  runs_.clear();
  for (const v1::RunAssignment& assigned : assignment.runs()) {
    if (model_ != assigned.spec().model().path()) ++model_loads;
    model_ = assigned.spec().model().path();
    runs_.push_back({.spec = assigned.spec(),
                     .fold = Sha256Hex(std::to_string(assigned.spec().training().seed()))});
    if (const auto bad = options_.bad_runs.find(assigned.spec().name());
        bad != options_.bad_runs.end()) {
      runs_.clear();
      return session::BlameRun(bad->second, assigned.run_id());
    }
    if (!assigned.committed_state().empty())
      RETURN_IF_ERROR(LoadState(runs_.size() - 1, assigned.committed_state()));
  }
  return absl::OkStatus();
}

std::string FakeTrainer::LatentKey(const Place& place) const {
  const Run& run = runs_[place.run];
  const auto& samples = run.spec.data().samples();
  if (samples.empty()) return "";
  const uint64_t nth = run.step * MicrobatchesOf(run) + place.index;
  return "key-" +
         samples[static_cast<int>(nth % static_cast<uint64_t>(samples.size()))].image_digest();
}

std::vector<std::string> FakeTrainer::MissingLatents(session::MicrobatchRange range) {
  std::vector<std::string> keys;
  for (const Place& place : Cut(range)) {
    const std::string key = LatentKey(place);
    const bool needed = !key.empty() && !latents_.contains(key);
    if (needed && std::find(keys.begin(), keys.end(), key) == keys.end()) keys.push_back(key);
  }
  return keys;
}

std::vector<std::string> FakeTrainer::MissingLatentsOfArtifact(size_t run, uint32_t index) {
  const std::string key = LatentKey({run, index});
  if (key.empty() || latents_.contains(key)) return {};
  return {key};
}

absl::StatusOr<std::string> FakeTrainer::EncodeLatent(std::string_view key) {
  ++encodes;
  return "posterior of " + std::string(key);
}

absl::Status FakeTrainer::SetLatent(std::string_view key, std::string_view bytes) {
  if (bytes != "posterior of " + std::string(key))
    return DataLoss(fmt::format("'{}' is no posterior of {}", bytes, key));
  latents_[std::string(key)] = bytes;
  return absl::OkStatus();
}

std::vector<size_t> FakeTrainer::ActiveRuns() const {
  std::vector<size_t> active;
  for (size_t i = 0; i < runs_.size(); ++i) {
    if (!runs_[i].removed && runs_[i].step < runs_[i].spec.training().steps()) active.push_back(i);
  }
  return active;
}

uint32_t FakeTrainer::MicrobatchesOf(const Run& run) const {
  const v1::TrainingSpec& training = run.spec.training();
  const uint32_t samples = training.batch_size() * std::max(1U, training.gradient_accumulation());
  const uint32_t size = std::max(1U, training.microbatch());
  return (samples + size - 1) / size;
}

uint32_t FakeTrainer::MicrobatchCount() const {
  uint32_t count = 0;
  for (const size_t run : ActiveRuns()) count += MicrobatchesOf(runs_[run]);
  return count;
}

std::vector<FakeTrainer::Place> FakeTrainer::Cut(session::MicrobatchRange range) const {
  std::vector<Place> all;
  for (const size_t run : ActiveRuns()) {
    for (uint32_t i = 0; i < MicrobatchesOf(runs_[run]); ++i) all.push_back({run, i});
  }
  return {all.begin() + range.first, all.begin() + range.first + range.count};
}

size_t FakeTrainer::PayloadSize(session::MicrobatchRange range) const {
  size_t bytes = 0;
  for (const Place& place : Cut(range)) bytes += PayloadOf(runs_[place.run].spec);
  return bytes;
}

absl::StatusOr<std::string> FakeTrainer::ComputeMicrobatches(session::MicrobatchRange range) {
  std::string payload;
  for (const Place& place : Cut(range)) {
    const auto until =
        std::chrono::steady_clock::now() + absl::ToChronoMicroseconds(options_.microbatch_time);
    {
      MutexLock lock(mutex_);
      while (!interrupted_ && options_.hangs_at != 0 &&
             runs_[place.run].step + 1 >= options_.hangs_at)
        changed_.Wait(mutex_);
      while (!interrupted_ && options_.microbatch_time > absl::ZeroDuration() &&
             changed_.WaitUntil(mutex_, until)) {
      }
      if (interrupted_) {
        interrupted_ = false;
        return Aborted("interrupted");
      }
    }
    ++microbatches;
    const Run& run = runs_[place.run];
    if (const std::string key = LatentKey(place); !key.empty() && !latents_.contains(key)) {
      return Internal("stepping before posterior " + key + " was set");
    }
    std::string bytes;
    while (bytes.size() < PayloadOf(run.spec)) {
      bytes += Sha256Hex(fmt::format("{} {} {} {} {}", run.fold, run.step,
                                     run.spec.training().seed(), place.index, bytes.size()));
    }
    payload += bytes.substr(0, PayloadOf(run.spec));
  }
  return payload;
}

bool FakeTrainer::SumsPayloads() const {
  return !runs_.empty() && runs_[0].spec.training().reduce() == "fast";
}

absl::StatusOr<std::vector<float>> FakeTrainer::SumPayload(std::string_view payload,
                                                           session::MicrobatchRange range) const {
  std::map<size_t, std::vector<float>> sums;  // by run
  for (const size_t run : ActiveRuns()) sums[run].resize(kSumFloats);
  for (const Place& place : Cut(range)) {
    for (size_t i = 0; i < kSumFloats; ++i)
      sums[place.run][i] += static_cast<float>(static_cast<unsigned char>(payload.at(i)));
    payload.remove_prefix(PayloadOf(runs_[place.run].spec));
  }
  std::vector<float> all;
  for (const auto& [run, sum] : sums) all.insert(all.end(), sum.begin(), sum.end());
  return all;
}

absl::StatusOr<std::vector<session::RunStep>> FakeTrainer::ApplyStep(std::string_view payloads) {
  std::vector<session::RunStep> steps;
  for (const size_t i : ActiveRuns()) {
    Run& run = runs_[i];
    const size_t bytes =
        SumsPayloads() ? kSumFloats * sizeof(float) : MicrobatchesOf(run) * PayloadOf(run.spec);
    if (payloads.size() < bytes) return Internal("the payloads are too short");
    const std::string_view mine = payloads.substr(0, bytes);
    payloads.remove_prefix(bytes);
    session::RunStep step{.run = i};
    if (const auto bad = options_.not_finite_at.find(run.spec.name());
        bad != options_.not_finite_at.end() && bad->second == run.step + 1) {
      step.refused = true;
      step.failure.set_kind(v1::RunFailure::KIND_NOT_FINITE);
      step.failure.set_step(run.step + 1);
      step.failure.set_message("the loss of '" + run.spec.name() + "' is not finite");
    } else {
      ++run.step;
      run.fold = Sha256Hex(run.fold + std::string(mine));
      if (const auto at = options_.corrupt_at.find(run.spec.name());
          at != options_.corrupt_at.end() && at->second == run.step) {
        run.fold[0] = run.fold[0] == 'x' ? 'y' : 'x';
      }
      step.record.set_step(run.step);
      step.record.set_loss(static_cast<float>(Hash64(run.fold) % 1000) / 1000.0F);
      step.record.set_learning_rate(0.005F);
      step.record.set_state_hash(HashOf(i));
    }
    steps.push_back(std::move(step));
  }
  if (!payloads.empty()) return Internal("the payloads are too long");
  return steps;
}

uint64_t FakeTrainer::HashOf(size_t run) const { return Hash64(SaveState(run)); }

std::string FakeTrainer::SaveState(size_t run) const {
  v1::TrainState state;
  state.set_step(runs_[run].step);
  state.set_optimizer_step(runs_[run].step);
  v1::RowBlock& block = *state.add_blocks();
  // 64 bytes stand for K=1, D=16: what a coordinator that looks at the shape expects.
  block.set_word(runs_[run].spec.word_size() > 0 ? runs_[run].spec.word(0).name() : "word");
  block.set_vectors(1);
  block.set_width(16);
  block.set_rows(runs_[run].fold);
  block.set_exp_avg(std::string(64, '\0'));
  block.set_exp_avg_sq(std::string(64, '\0'));
  return state.SerializeAsString();
}

absl::Status FakeTrainer::LoadState(size_t run, std::string_view bytes) {
  v1::TrainState state;
  if (!state.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())) ||
      state.blocks_size() != 1) {
    return InvalidArgument("this is no state");
  }
  runs_[run].step = state.step();
  runs_[run].fold = state.blocks(0).rows();
  return absl::OkStatus();
}

uint32_t FakeTrainer::ArtifactCount(size_t run) const {
  return options_.artifacts_every > 0 && runs_[run].step % options_.artifacts_every == 0
             ? options_.artifacts
             : 0;
}

absl::StatusOr<session::Trainer::Artifact> FakeTrainer::MakeArtifact(size_t run, uint32_t index) {
  if (!MissingLatentsOfArtifact(run, index).empty())
    return Internal("an artifact before its posterior was set");
  Artifact artifact;
  artifact.report.set_run_id(runs_[run].spec.name());
  artifact.report.set_step(runs_[run].step);
  artifact.report.set_kind(v1::ArtifactReport::KIND_PREVIEW);
  artifact.report.set_index(index);
  artifact.bytes =
      fmt::format("preview {} of {} after {}", index, runs_[run].spec.name(), runs_[run].step);
  return artifact;
}

void FakeTrainer::Interrupt() {
  MutexLock lock(mutex_);
  interrupted_ = true;
  changed_.NotifyAll();
}

v1::RunSpec FakeRunSpec(const std::string& name, uint32_t steps, uint32_t batch) {
  v1::RunSpec spec;
  spec.set_name(name);
  spec.mutable_model()->set_path("model");
  spec.mutable_model()->set_precision("fp32");
  spec.add_word()->set_name("zesko");
  spec.mutable_word(0)->set_vectors(1);
  spec.mutable_training()->set_steps(steps);
  spec.mutable_training()->set_batch_size(batch);
  spec.mutable_training()->set_gradient_accumulation(1);
  spec.mutable_training()->set_microbatch(1);
  spec.mutable_training()->set_seed(Hash64(name));
  for (int i = 0; i < 3; ++i) {
    spec.mutable_data()->add_samples()->set_image_digest(Sha256Hex(name + std::to_string(i)));
  }
  return spec;
}

std::string FakeFinalState(const v1::RunSpec& spec, uint64_t steps) {
  FakeTrainer trainer;
  v1::Assignment assignment;
  *assignment.add_runs()->mutable_spec() = spec;
  if (!trainer.Prepare(assignment).ok()) return "";
  while (trainer.StepOf(0) < steps) {
    for (const std::string& key : trainer.MissingLatents({0, trainer.MicrobatchCount()})) {
      if (!trainer.SetLatent(key, *trainer.EncodeLatent(key)).ok()) return "";
    }
    const session::MicrobatchRange all{0, trainer.MicrobatchCount()};
    std::string payload = *trainer.ComputeMicrobatches(all);
    if (trainer.SumsPayloads()) {
      const std::vector<float> sum = *trainer.SumPayload(payload, all);
      payload.assign(reinterpret_cast<const char*>(sum.data()), sum.size() * sizeof(float));
    }
    if (!trainer.ApplyStep(payload).ok()) return "";
  }
  return trainer.SaveState(0);
}

}  // namespace neolog::testing
