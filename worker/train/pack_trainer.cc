#include "worker/train/pack_trainer.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <map>
#include <numeric>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "common/base/hash.h"
#include "common/base/log.h"
#include "worker/dataset/posterior.h"
#include "worker/dataset/prompts.h"
#include "worker/dataset/size_conditioning.h"
#include "worker/diffusion/model.h"
#include "worker/generate/picture.h"
#include "worker/session/blame.h"
#include "worker/torch_support/call.h"
#include "worker/torch_support/cuda/graph.h"
#include "worker/torch_support/device.h"
#include "worker/torch_support/runtime.h"
#include "worker/train/denoising.h"
#include "worker/train/first_rows.h"
#include "worker/train/loaded_model.h"
#include "worker/train/loss.h"
#include "worker/train/pack_profile.h"
#include "worker/train/prepared_inputs.h"
#include "worker/train/trained_run.h"

namespace neolog::train {
namespace {

using session::MicrobatchRange;
using session::RunStep;
using torch_support::CallTorch;

// One run of the pack.
struct PackRun {
  std::string run_id;
  TrainedRun trained;
  dataset::Prompts prompts;
  /// Keys of its posteriors: [picture][flipped].
  std::vector<std::array<std::string, 2>> latent_keys;
  bool failed = false;
  bool removed = false;

  bool Active() const { return !failed && !removed && trained.step() < trained.total_steps(); }
};

// A microbatch: `count` consecutive samples of one run, from `first` on.
struct Microbatch {
  size_t run = 0;
  uint32_t first = 0;
  uint32_t count = 0;
};

// Every encoder's rows, [F].
at::Tensor RowsTensor(const TrainedRun& run) {
  at::Tensor rows = at::empty({static_cast<int64_t>(run.rows().size())}, at::kFloat);
  std::memcpy(rows.data_ptr<float>(), run.rows().data(), run.rows().size_bytes());
  return rows;
}

class PackTrainer : public session::Trainer {
 public:
  explicit PackTrainer(const PackTrainerOptions& options)
      : options_(options), loaded_(options.fingerprint_cache) {}

  absl::Status Prepare(const v1::Assignment& assignment) override {
    interrupted_.store(false);
    Clear();
    if (assignment.runs_size() == 0) {
      latents_.clear();
      return absl::OkStatus();
    }
    graphed_.reset();  // before another model is loaded, and before other shapes come
    // What is switched for the whole process decides which kernels the profile finds.
    RETURN_IF_ERROR(torch_support::SetUpRuntime({options_.threads}));
    ASSIGN_OR_RETURN(profile_, ResolvePackProfile(assignment, options_.threads, options_.device));
    RETURN_IF_ERROR(torch_support::SetUpRuntime({profile_.threads}));
    const auto loaded = loaded_.Load(assignment.runs(0).spec().model(), profile_.model);
    if (!loaded.ok()) return ExplainShortage(loaded.status());
    if (*loaded) {
      latents_.clear();
      spdlog::info("attention: {}", profile_.attention_kernels);
    }
    RETURN_IF_ERROR(SetUpGraph());
    for (const v1::RunAssignment& run : assignment.runs()) {
      if (const absl::Status added = AddRun(run); !added.ok()) {
        Clear();
        return session::BlameRun(Annotate(added, fmt::format("run '{}'", run.spec().name())),
                                 run.run_id());
      }
    }
    KeepLatentsInUse();
    return absl::OkStatus();
  }

  std::vector<std::string> MissingLatents(MicrobatchRange range) override {
    if (latents_.size() == requests_.size()) return {};
    std::vector<std::string> keys;
    for (const Microbatch& microbatch : Cut(range)) {
      PackRun& run = runs_[microbatch.run];
      for (uint32_t i = 0; i < microbatch.count; ++i) {
        NoteMissing(run, run.trained.plan().Sample(run.trained.step(), microbatch.first + i), keys);
      }
    }
    return keys;
  }

  absl::StatusOr<std::string> EncodeLatent(std::string_view key) override {
    RETURN_IF_ERROR(CheckInterrupt());
    ASSIGN_OR_RETURN(const dataset::LatentRequest* request, RequestOf(key));
    absl::StatusOr<std::string> bytes =
        dataset::EncodePosterior(loaded_.model(), *options_.blobs, *request);
    if (!bytes.ok()) return session::BlameRun(bytes.status(), RunOfLatent(key));
    return bytes;
  }

  absl::Status SetLatent(std::string_view key, std::string_view bytes) override {
    ASSIGN_OR_RETURN(const dataset::LatentRequest* request, RequestOf(key));
    absl::StatusOr<dataset::Posterior> posterior =
        dataset::ParsePosterior(bytes, loaded_.model().info(), request->resolution);
    if (!posterior.ok()) {
      return session::BlameRun(Annotate(posterior.status(), fmt::format("posterior of picture '{}'",
                                                                        request->file_name)),
                               RunOfLatent(key));
    }
    latents_.insert_or_assign(std::string(key), *std::move(posterior));
    return absl::OkStatus();
  }

  std::vector<size_t> ActiveRuns() const override {
    std::vector<size_t> active;
    for (size_t i = 0; i < runs_.size(); ++i) {
      if (runs_[i].Active()) active.push_back(i);
    }
    return active;
  }

  void RemoveRun(size_t run) override { runs_[run].removed = true; }

  uint32_t MicrobatchCount() const override {
    uint32_t count = 0;
    for (const size_t i : ActiveRuns()) count += MicrobatchesOf(runs_[i]);
    return count;
  }

  size_t PayloadSize(MicrobatchRange range) const override {
    size_t floats = 0;
    for (const Microbatch& microbatch : Cut(range)) {
      floats += microbatch.count * FloatsPerSample(runs_[microbatch.run]);
    }
    return floats * sizeof(float);
  }

  absl::StatusOr<std::string> ComputeMicrobatches(MicrobatchRange range) override {
    std::string payload;
    payload.reserve(PayloadSize(range));
    for (const Microbatch& microbatch : Cut(range)) {
      RETURN_IF_ERROR(CheckInterrupt());
      RETURN_IF_ERROR(Compute(microbatch, payload));
    }
    return payload;
  }

  bool SumsPayloads() const override { return profile_.sums; }

  absl::StatusOr<std::vector<float>> SumPayload(std::string_view payload,
                                                MicrobatchRange range) const override {
    std::map<size_t, std::vector<float>> parts;  // by run
    for (const Microbatch& microbatch : Cut(range)) {
      std::vector<float>& part = parts[microbatch.run];
      const std::vector<float> floats =
          Take(payload, microbatch.count * FloatsPerSample(runs_[microbatch.run]));
      part.insert(part.end(), floats.begin(), floats.end());
    }
    std::vector<float> sum;
    for (const size_t i : ActiveRuns()) {
      const std::vector<float> share = runs_[i].trained.ShareOfStep(SamplesOf(runs_[i], parts[i]));
      sum.insert(sum.end(), share.begin(), share.end());
    }
    return sum;
  }

  absl::StatusOr<std::vector<RunStep>> ApplyStep(std::string_view payloads) override {
    const std::vector<size_t> active = ActiveRuns();
    std::vector<size_t> sizes;  // in floats
    for (const size_t i : active) {
      sizes.push_back(profile_.sums
                          ? 2 + runs_[i].trained.rows().size()
                          : runs_[i].trained.samples_per_step() * FloatsPerSample(runs_[i]));
    }
    const size_t expected = std::accumulate(sizes.begin(), sizes.end(), size_t{0}) * sizeof(float);
    if (payloads.size() != expected) {
      return Internal(fmt::format("the members' payloads have {} bytes together; the step needs {}",
                                  payloads.size(), expected));
    }
    std::vector<RunStep> steps;
    for (size_t k = 0; k < active.size(); ++k) {
      PackRun& run = runs_[active[k]];
      const std::vector<float> floats = Take(payloads, sizes[k]);
      TrainedRun::Outcome outcome =
          profile_.sums
              ? run.trained.TakeSummedStep(floats)
              : run.trained.TakeStep(SamplesOf(run, floats), [&run](const PlannedSample& sample) {
                  const int image = static_cast<int>(sample.image);
                  return std::pair(run.trained.spec().data().samples(image).file_name(),
                                   run.prompts.Of(sample.prompt, sample.image).text);
                });
      RunStep step;
      step.run = active[k];
      step.record = std::move(outcome.record);
      if (outcome.failure) {
        run.failed = true;
        step.refused = true;
        step.failure = *std::move(outcome.failure);
      }
      steps.push_back(std::move(step));
    }
    return steps;
  }

  uint64_t StepOf(size_t run) const override { return runs_[run].trained.step(); }
  uint64_t HashOf(size_t run) const override { return runs_[run].trained.state_hash(); }
  std::string SaveState(size_t run) const override { return runs_[run].trained.SaveState(); }
  absl::Status LoadState(size_t run, std::string_view bytes) override {
    RETURN_IF_ERROR(runs_[run].trained.LoadState(bytes));
    runs_[run].failed = false;
    return absl::OkStatus();
  }

  uint32_t ArtifactCount(size_t run) const override {
    return PreviewsOf(runs_[run]) + (ValidationDue(runs_[run]) ? 1 : 0);
  }

  std::vector<std::string> MissingLatentsOfArtifact(size_t run, uint32_t index) override {
    PackRun& of = runs_[run];
    std::vector<std::string> keys;
    if (index < PreviewsOf(of) || latents_.size() == requests_.size()) return keys;
    for (uint32_t image = 0; image < of.latent_keys.size(); ++image) {
      for (uint32_t draw = 0; draw < of.trained.plan().validation_draws(); ++draw) {
        NoteMissing(of, of.trained.plan().ValidationDraw(image, draw), keys);
      }
    }
    return keys;
  }

  absl::StatusOr<Artifact> MakeArtifact(size_t run, uint32_t index) override {
    PackRun& of = runs_[run];
    Artifact artifact;
    artifact.report.set_run_id(of.run_id);
    artifact.report.set_step(of.trained.step());
    artifact.report.set_index(index);
    if (index < PreviewsOf(of)) {
      artifact.report.set_kind(v1::ArtifactReport::KIND_PREVIEW);
      ASSIGN_OR_RETURN(artifact.bytes, Preview(of, index));
      return artifact;
    }
    if (index != PreviewsOf(of) || !ValidationDue(of)) {
      return InvalidArgument(fmt::format("run '{}' has no artifact {} after step {}",
                                         of.trained.spec().name(), index, of.trained.step()));
    }
    artifact.report.set_kind(v1::ArtifactReport::KIND_VALIDATION);
    artifact.report.set_index(0);
    ASSIGN_OR_RETURN(const double loss, ValidationLoss(of));
    artifact.report.set_value(loss);
    return artifact;
  }

  uint64_t Progress() const override { return progress_.load(std::memory_order_relaxed); }
  void Interrupt() override { interrupted_.store(true); }

 private:
  absl::Status SetUpGraph() {
    if (!profile_.graph) return absl::OkStatus();
    ASSIGN_OR_RETURN(torch_support::GraphFactory graphs,
                     torch_support::CudaGraphs(loaded_.model().device()));
    graphed_.emplace(&loaded_.model(), std::move(graphs));
    return absl::OkStatus();
  }

  // What to do where memory did not suffice; other errors stay.
  absl::Status ExplainShortage(const absl::Status& status) const {
    if (!absl::IsResourceExhausted(status)) return status;
    const auto memory = torch_support::DeviceMemory(profile_.model.device);
    if (!memory.ok()) return status;
    return Annotate(status, DescribeShortage(profile_.memory, profile_.microbatch, *memory));
  }

  // Between the parts of a long computation.
  absl::Status CheckInterrupt() {
    progress_.fetch_add(1, std::memory_order_relaxed);
    if (!interrupted_.exchange(false)) return absl::OkStatus();
    return Aborted("interrupted");
  }

  absl::StatusOr<const dataset::LatentRequest*> RequestOf(std::string_view key) const {
    const auto place = request_places_.find(key);
    if (place == request_places_.end()) {
      return NotFound(fmt::format("posterior '{}' belongs to no picture of this pack", key));
    }
    return &requests_[place->second];
  }

  // The first run that trains on this picture: when it is gone, the next one is asked.
  std::string RunOfLatent(std::string_view key) const {
    for (const PackRun& run : runs_) {
      if (run.removed || run.failed) continue;
      for (const auto& [plain, flipped] : run.latent_keys) {
        if (plain == key || flipped == key) return run.run_id;
      }
    }
    return "";
  }

  void Clear() {
    prepared_.Clear();
    runs_.clear();
    requests_.clear();
    request_places_.clear();
  }

  absl::Status AddRun(const v1::RunAssignment& assigned) {
    const v1::RunSpec& spec = assigned.spec();
    if (spec.word_size() != 1 || spec.word(0).vectors() == 0 ||
        spec.word(0).vectors() > loaded_.model().info().text_positions) {
      return InvalidArgument(
          fmt::format("it has {} words; expected exactly one, with 1 to {} vectors",
                      spec.word_size(), loaded_.model().info().text_positions));
    }
    const std::vector<uint32_t> widths(loaded_.model().info().text_widths.begin(),
                                       loaded_.model().info().text_widths.end());
    const auto& made_for = spec.model().text_widths();
    if (!made_for.empty() &&
        !std::equal(made_for.begin(), made_for.end(), widths.begin(), widths.end())) {
      return InvalidArgument(fmt::format(
          "the run was made for a model with text width {}, but '{}' has {}; submit it "
          "again with this model",
          fmt::join(made_for, " and "), spec.model().path(), fmt::join(widths, " and ")));
    }
    ASSIGN_OR_RETURN(std::vector<float> first_rows,
                     FirstRows(spec.word(0), widths, loaded_.model(), *loaded_.tokenizers()[0]));
    ASSIGN_OR_RETURN(TrainedRun trained,
                     TrainedRun::Create(spec, widths, std::move(first_rows), Scaled()));
    if (!assigned.committed_state().empty()) {
      if (Hash64(assigned.committed_state()) != assigned.committed_hash()) {
        return DataLoss(fmt::format("the committed state after step {} does not fit its hash",
                                    assigned.committed_step()));
      }
      RETURN_IF_ERROR(trained.LoadState(assigned.committed_state()));
    }
    ASSIGN_OR_RETURN(dataset::Prompts prompts,
                     dataset::Prompts::Create(spec, loaded_.tokenizers(),
                                              loaded_.model().info().text_positions));
    PackRun run{
        .run_id = assigned.run_id(), .trained = std::move(trained), .prompts = std::move(prompts)};
    run.latent_keys.resize(static_cast<size_t>(spec.data().samples_size()));
    for (uint32_t image = 0; image < run.latent_keys.size(); ++image) {
      for (const bool flip : {false, true}) {
        if (flip && !spec.data().flip()) continue;
        dataset::LatentRequest request =
            dataset::LatentRequestOf(spec, image, profile_.resolution, flip, profile_.numerics);
        run.latent_keys[image][flip] = request.key;
        if (request_places_.emplace(request.key, requests_.size()).second) {
          requests_.push_back(std::move(request));
        }
      }
    }
    runs_.push_back(std::move(run));
    return absl::OkStatus();
  }

  void KeepLatentsInUse() {
    std::erase_if(latents_,
                  [&](const auto& entry) { return !request_places_.contains(entry.first); });
  }

  // Whether losses are scaled.
  bool Scaled() const { return profile_.model.precision == diffusion::Precision::kFloat16; }
  size_t FloatsPerSample(const PackRun& run) const {
    return 1 + run.trained.rows().size() + (Scaled() ? 1 : 0);
  }
  // The first `count` floats of a payload, which loses them.
  static std::vector<float> Take(std::string_view& payload, size_t count) {
    std::vector<float> floats(count);
    std::memcpy(floats.data(), payload.data(), count * sizeof(float));
    payload.remove_prefix(count * sizeof(float));
    return floats;
  }
  // A peer's number; what is none counts as the most, so that it is never cast.
  static uint32_t HalvingsOf(float number) {
    return number >= 0 && number <= LossScale::kMostHalvings ? static_cast<uint32_t>(number)
                                                             : LossScale::kMostHalvings;
  }
  // Samples as payloads hold them; they point into `floats`.
  std::vector<SampleResult> SamplesOf(const PackRun& run, std::span<const float> floats) const {
    const size_t stride = FloatsPerSample(run), gradient = run.trained.rows().size();
    std::vector<SampleResult> samples;
    for (; !floats.empty(); floats = floats.subspan(stride)) {
      samples.push_back(
          {floats[0], floats.subspan(1, gradient), Scaled() ? HalvingsOf(floats[stride - 1]) : 0});
    }
    return samples;
  }
  uint32_t MicrobatchesOf(const PackRun& run) const {
    return (run.trained.samples_per_step() + profile_.microbatch - 1) / profile_.microbatch;
  }

  std::vector<Microbatch> Cut(MicrobatchRange range) const {
    std::vector<Microbatch> cut;
    uint32_t number = 0;
    for (const size_t i : ActiveRuns()) {
      const uint32_t samples = runs_[i].trained.samples_per_step();
      for (uint32_t first = 0; first < samples; first += profile_.microbatch, ++number) {
        if (number < range.first || number - range.first >= range.count) continue;
        cut.push_back({i, first, std::min(profile_.microbatch, samples - first)});
      }
    }
    return cut;
  }

  void NoteMissing(const PackRun& run, const PlannedSample& plan,
                   std::vector<std::string>& keys) const {
    const std::string& key = run.latent_keys[plan.image][plan.flip];
    if (!latents_.contains(key) && std::find(keys.begin(), keys.end(), key) == keys.end())
      keys.push_back(key);
  }

  absl::StatusOr<SampleInput> InputOf(PackRun& run, const PlannedSample& plan) {
    const std::string& key = run.latent_keys[plan.image][plan.flip];
    const auto latent = latents_.find(key);
    if (latent == latents_.end()) {
      return FailedPrecondition(
          fmt::format("the posterior of picture '{}' was not set before stepping",
                      run.trained.spec().data().samples(static_cast<int>(plan.image)).file_name()));
    }
    const v1::Sample& picture = run.trained.spec().data().samples(static_cast<int>(plan.image));
    return SampleInput{plan, &run.prompts.Of(plan.prompt, plan.image), &latent->second,
                       dataset::TimeIdsOf(picture.width(), picture.height(), profile_.resolution)};
  }

  // The input of `place`'s microbatch, on the device; FailedPrecondition without a posterior.
  absl::StatusOr<MicrobatchInput> PrepareInput(const PreparedInputs::Place& place) {
    PackRun& run = runs_[place.run];
    std::vector<SampleInput> samples;
    const uint32_t end =
        std::min(place.first + profile_.microbatch, run.trained.samples_per_step());
    for (uint32_t i = place.first; i < end; ++i) {
      ASSIGN_OR_RETURN(SampleInput input, InputOf(run, run.trained.plan().Sample(place.step, i)));
      samples.push_back(std::move(input));
    }
    MicrobatchInput input;
    RETURN_IF_ERROR(CallTorch("drawing noise", [&] {
      input = Upload(MakeMicrobatch(loaded_.model(), samples, profile_.microbatch),
                     loaded_.model().device());
    }));
    return input;
  }

  // While the device works: what cannot be prepared now is an error when its turn comes.
  void PrepareNext(const std::optional<PreparedInputs::Place>& next) {
    if (!next || !options_.prepare_ahead.value_or(!loaded_.model().device().is_cpu())) return;
    if (next->run >= runs_.size() || next->step >= runs_[next->run].trained.total_steps()) return;
    if (auto input = PrepareInput(*next); input.ok()) prepared_.Keep(*next, *std::move(input));
  }

  // Appends the microbatch's samples to the payload.
  absl::Status Compute(const Microbatch& microbatch, std::string& payload) {
    PackRun& run = runs_[microbatch.run];
    const PreparedInputs::Place place{microbatch.run, run.trained.step(), microbatch.first};
    std::optional<MicrobatchInput> input = prepared_.Take(place);
    if (!input) {
      ASSIGN_OR_RETURN(input, PrepareInput(place));
    }
    const auto next = prepared_.Follow(place);
    const std::string doing =
        fmt::format("step {} of '{}'", run.trained.step() + 1, run.trained.spec().name());
    uint32_t halvings = 0;
    float scale = Scaled() ? run.trained.loss_scale()->factor() : 1;
    MicrobatchResult result;
    const auto denoise = [&](const DenoisingInput& part) {
      return graphed_ ? graphed_->Run(part) : Denoise(loaded_.model(), part);
    };
    const auto compute = [&] {
      return CallTorch(doing, [&] {
        const LaunchedMicrobatch launched = Launch(
            loaded_.model(), denoise, *input, microbatch.count, RowsTensor(run.trained), scale);
        if (halvings == 0) PrepareNext(next);
        result = launched.Read();
      });
    };
    RETURN_IF_ERROR(ExplainShortage(compute()));
    while (Scaled() && result.overflowed && halvings < LossScale::kMostHalvings) {
      ++halvings;
      scale /= 2;
      RETURN_IF_ERROR(CheckInterrupt());
      RETURN_IF_ERROR(ExplainShortage(compute()));
    }
    for (uint32_t i = 0; i < microbatch.count; ++i) {
      const auto append = [&payload](const float* values, size_t count) {
        payload.append(reinterpret_cast<const char*>(values), count * sizeof(float));
      };
      const float halved = static_cast<float>(halvings);
      append(result.losses.const_data_ptr<float>() + i, 1);
      append(result.gradients[i].const_data_ptr<float>(), run.trained.rows().size());
      if (Scaled()) append(&halved, 1);
    }
    return absl::OkStatus();
  }

  static bool Due(const PackRun& run, uint32_t every) {
    const uint64_t step = run.trained.step();
    return every != 0 && step != 0 && (step % every == 0 || step == run.trained.total_steps());
  }
  static uint32_t PreviewsOf(const PackRun& run) {
    const v1::PreviewSpec& preview = run.trained.spec().preview();
    return Due(run, preview.every_steps()) ? static_cast<uint32_t>(preview.prompts_size()) : 0;
  }
  static bool ValidationDue(const PackRun& run) {
    return Due(run, run.trained.spec().validation().every_steps());
  }

  // Mean over every picture's fixed draws, added up in double in their order.
  absl::StatusOr<double> ValidationLoss(PackRun& run) {
    const uint32_t images = static_cast<uint32_t>(run.trained.spec().data().samples_size());
    const uint32_t draws = run.trained.plan().validation_draws();
    std::vector<SampleInput> all;
    for (uint32_t image = 0; image < images; ++image) {
      for (uint32_t draw = 0; draw < draws; ++draw) {
        ASSIGN_OR_RETURN(SampleInput input,
                         InputOf(run, run.trained.plan().ValidationDraw(image, draw)));
        all.push_back(std::move(input));
      }
    }
    const at::Tensor rows = RowsTensor(run.trained);
    double sum = 0;
    for (size_t first = 0; first < all.size(); first += profile_.microbatch) {
      RETURN_IF_ERROR(CheckInterrupt());
      const std::span<const SampleInput> samples =
          std::span(all).subspan(first, std::min<size_t>(profile_.microbatch, all.size() - first));
      RETURN_IF_ERROR(CallTorch("validation loss", [&] {
        const at::Tensor losses = ComputeLoss(
            loaded_.model(), MakeMicrobatch(loaded_.model(), samples, profile_.microbatch), rows);
        for (size_t i = 0; i < samples.size(); ++i) sum += losses.data_ptr<float>()[i];
      }));
    }
    return sum / static_cast<double>(all.size());
  }

  absl::StatusOr<std::string> Preview(PackRun& run, uint32_t index) {
    const v1::RunSpec& spec = run.trained.spec();
    const v1::PreviewSpec& preview = spec.preview();
    generate::PictureRequest request;
    ASSIGN_OR_RETURN(request.prompts, run.prompts.OfPreview(index));
    request.rows = RowsTensor(run.trained);
    request.sampler = preview.sampler();
    request.steps = static_cast<int>(preview.steps());
    request.cfg = preview.cfg();
    request.seed = preview.seed() + index;
    request.side = profile_.resolution;
    request.model_hash = spec.model().short_hash();
    return generate::DrawPng(loaded_.model(), request, [this] { return CheckInterrupt().ok(); });
  }

  const PackTrainerOptions options_;
  PackProfile profile_;
  LoadedModel loaded_;
  std::optional<GraphedDenoising> graphed_;  // of loaded_
  PreparedInputs prepared_;
  std::vector<PackRun> runs_;
  std::vector<dataset::LatentRequest> requests_;
  std::map<std::string, size_t, std::less<>> request_places_;  // key to place in requests_
  std::map<std::string, dataset::Posterior, std::less<>> latents_;
  std::atomic<bool> interrupted_{false};
  std::atomic<uint64_t> progress_{0};
};

}  // namespace

absl::StatusOr<std::unique_ptr<session::Trainer>> CreatePackTrainer(
    const PackTrainerOptions& options) {
  if (options.blobs == nullptr) return InvalidArgument("a trainer needs a blob store");
  if (options.threads < 1)
    return InvalidArgument(fmt::format("threads is {}; expected at least 1", options.threads));
  std::unique_ptr<session::Trainer> trainer = std::make_unique<PackTrainer>(options);
  return trainer;
}

}  // namespace neolog::train
