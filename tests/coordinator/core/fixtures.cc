#include "tests/coordinator/core/fixtures.h"

#include <gtest/gtest.h>

#include <memory>

#include "common/base/hash.h"
#include "common/base/version.h"
#include "coordinator/core/roster.h"
#include "tests/support/status_matchers.h"

namespace neolog::coordinator::testing {

v1::RunSpec MakeSpec(const std::string& name, uint32_t steps, uint32_t workers) {
  v1::RunSpec spec;
  spec.set_name(name);
  spec.mutable_model()->set_path("/models/tiny");
  spec.mutable_model()->set_precision("fp32");
  spec.mutable_model()->set_prediction("model");
  spec.mutable_model()->set_fingerprint(std::string(64, 'a'));
  spec.mutable_model()->add_text_widths(4);
  v1::WordSpec& word = *spec.add_word();
  word.set_name("zesko");
  word.set_vectors(1);
  spec.mutable_data()->set_images("/pictures");
  spec.mutable_data()->set_prompts("object");
  spec.mutable_data()->add_templates("a photo of zesko");
  v1::Sample& sample = *spec.mutable_data()->add_samples();
  sample.set_image_digest(Sha256Hex("picture"));
  sample.set_file_name("a.png");
  v1::TrainingSpec& training = *spec.mutable_training();
  training.set_steps(steps);
  training.set_batch_size(4);
  training.set_gradient_accumulation(1);
  training.set_microbatch(1);
  training.set_learning_rate("0.005");
  training.set_schedule("constant");
  training.set_beta1(0.9);
  training.set_beta2(0.999);
  training.set_epsilon(1e-8);
  training.set_reduce("ordered");
  spec.mutable_validation()->set_draws_per_image(1);
  spec.mutable_text()->set_long_prompts("truncate");
  spec.mutable_preview()->set_sampler("euler_a");
  spec.mutable_preview()->set_emphasis("none");
  spec.mutable_preview()->set_steps(20);
  spec.mutable_preview()->set_cfg(7);
  spec.mutable_checkpoint()->set_log_dir("/out");
  spec.mutable_checkpoint()->set_every_steps(0);
  spec.mutable_checkpoint()->add_formats("diffusers");
  spec.mutable_resources()->set_workers(workers);
  spec.mutable_resources()->set_threads_per_worker(1);
  spec.mutable_resources()->set_device("cpu");
  spec.mutable_resources()->set_cuda_graph("auto");
  return spec;
}

std::string MakeState(uint64_t step, int flavour) {
  v1::TrainState state;
  state.set_step(step);
  state.set_optimizer_step(step);
  v1::RowBlock& block = *state.add_blocks();
  block.set_word("zesko");
  block.set_vectors(1);
  block.set_width(4);
  block.set_rows(std::string(16, static_cast<char>('A' + flavour)));
  return state.SerializeAsString();
}

v1::CommitReport MakeCommit(const std::string& team_id, uint64_t roster_version,
                            const std::string& run_id, uint64_t first, uint64_t last, int flavour) {
  v1::CommitReport report;
  report.set_team_id(team_id);
  report.set_roster_version(roster_version);
  report.set_run_id(run_id);
  for (uint64_t step = first; step <= last; ++step) {
    v1::StepRecord& record = *report.add_steps();
    record.set_step(step);
    record.set_loss(1.0f / static_cast<float>(step));
    record.set_learning_rate(0.005f);
    record.set_gradient_norm(0.5f);
    record.set_state_hash(Hash64(MakeState(step, flavour)));
  }
  report.set_state(MakeState(last, flavour));
  return report;
}

v1::WorkerIdentity MakeIdentity(const std::string& id, uint64_t incarnation) {
  v1::WorkerIdentity identity;
  identity.set_worker_id(id);
  identity.set_incarnation(incarnation);
  return identity;
}

v1::Register MakeRegister(uint32_t threads, const std::string& instruction_set) {
  v1::Register info;
  info.set_version(kVersion);
  info.set_host("host");
  info.set_process_id(42);
  info.set_peer_address("unix:/run/peer.sock");
  v1::WorkerCapabilities& offers = *info.mutable_capabilities();
  offers.set_instruction_set(instruction_set);
  offers.set_torch_build("2.11.0+cpu");
  offers.set_device("cpu");
  offers.set_threads(threads);
  offers.add_precisions("fp32");
  offers.add_precisions("bf16");
  return info;
}

Cluster::Cluster(CoreOptions options) : options_(options) {
  engine_ = std::make_unique<Engine>(options_, [this] { return ++random_; });
  Absorb(engine_->Start(now_));
}

void Cluster::Absorb(Effects effects) {
  ASSERT_OK(effects.fatal);
  for (v1::JournalRecord& record : effects.batch.records) records_.push_back(std::move(record));
  for (const StateKey& key : effects.batch.drop_states) states_.erase(key);
  for (auto& [key, bytes] : effects.batch.put_states) states_[key] = std::move(bytes);
  for (Outgoing& out : effects.messages) {
    const auto owner = owners_.find(out.link);
    if (owner == owners_.end()) continue;
    const std::string id = owner->second;
    if (out.message.body_case() != v1::CoordinatorMessage::BODY_NOT_SET)
      inboxes_[id].push_back(std::move(out.message));
    if (out.close) {
      const auto open = links_.find(id);
      if (open != links_.end() && open->second == out.link) links_.erase(open);
      owners_.erase(owner);
      Absorb(engine_->OnLinkClosed(now_, out.link));
    }
  }
  for (const Event& event : effects.events) events.push_back(event.event.message());
}

void Cluster::Advance(absl::Duration by) {
  const SteadyTime end = now_.steady + by;
  while (now_.steady < end) {
    const absl::Duration step = std::min(absl::Milliseconds(10), end - now_.steady);
    now_.steady += step;
    now_.wall += step;
    Absorb(engine_->OnTick(now_));
  }
}

LinkId Cluster::Join(const std::string& id, uint64_t incarnation, v1::Register info) {
  const LinkId link = next_link_++;
  links_[id] = link;
  owners_[link] = id;
  identities_[id] = MakeIdentity(id, incarnation);
  v1::WorkerMessage message;
  *message.mutable_worker() = identities_[id];
  *message.mutable_register_() = std::move(info);
  Absorb(engine_->OnMessage(now_, link, message));
  return link;
}

void Cluster::Hangup(const std::string& id) {
  const LinkId link = links_.at(id);
  links_.erase(id);
  owners_.erase(link);
  Absorb(engine_->OnLinkClosed(now_, link));
}

void Cluster::Say(const std::string& id, v1::WorkerMessage message) {
  *message.mutable_worker() = identities_.at(id);
  Absorb(engine_->OnMessage(now_, links_.at(id), message));
}

void Cluster::Heartbeat(const std::string& id, const std::string& phase) {
  Heartbeat(id, phase, ++beats_);
}

void Cluster::Heartbeat(const std::string& id, const std::string& phase, uint64_t progress,
                        v1::Heartbeat::WaitsFor waits_for) {
  v1::WorkerMessage message;
  message.mutable_heartbeat()->set_phase(phase);
  message.mutable_heartbeat()->set_progress(progress);
  message.mutable_heartbeat()->set_waits_for(waits_for);
  Say(id, message);
}

void Cluster::Commit(const std::string& id, const std::string& run_id, uint64_t first,
                     uint64_t last, int flavour) {
  const Team* team = TeamOf(engine_->state(), identities_.at(id));
  v1::WorkerMessage message;
  *message.mutable_commit() =
      MakeCommit(team == nullptr ? "none" : team->roster.team_id(),
                 team == nullptr ? 0 : team->roster.version(), run_id, first, last, flavour);
  Say(id, message);
}

void Cluster::Report(const std::string& id, const std::string& phase, const std::string& run_id,
                     std::vector<uint64_t> steps, v1::RunFailure failure) {
  const Team* team = TeamOf(engine_->state(), identities_.at(id));
  v1::WorkerMessage message;
  v1::AssignmentReport& report = *message.mutable_assignment();
  if (team != nullptr) {
    report.set_team_id(team->roster.team_id());
    report.set_roster_version(team->roster.version());
  }
  report.set_phase(phase);
  report.set_run_id(run_id);
  for (const uint64_t step : steps) report.add_steps(step);
  *report.mutable_failure() = std::move(failure);
  Say(id, message);
}

void Cluster::Complain(const std::string& id, const std::string& about) {
  const Team* team = TeamOf(engine_->state(), identities_.at(id));
  v1::WorkerMessage message;
  v1::PeerFailure& failure = *message.mutable_peer_failure();
  failure.set_team_id(team->roster.team_id());
  failure.set_roster_version(team->roster.version());
  *failure.mutable_peer() = identities_.at(about);
  failure.set_message("stream broke");
  Say(id, message);
}

std::string Cluster::Submit(const v1::RunSpec& spec) {
  v1::SubmitRunRequest request;
  *request.mutable_spec() = spec;
  Effects effects;
  const auto response =
      engine_->Submit(now_, request, spec.checkpoint().log_dir() + "/" + spec.name(), effects);
  EXPECT_OK(response);
  Absorb(std::move(effects));
  return response.ok() ? response->run().run_id() : "";
}

absl::Status Cluster::Pause(const std::string& run_id) {
  v1::PauseRunRequest request;
  request.set_run_id(run_id);
  Effects effects;
  const auto response = engine_->Pause(now_, request, effects);
  Absorb(std::move(effects));
  return response.status();
}

absl::Status Cluster::Stop(const std::string& run_id) {
  v1::StopRunRequest request;
  request.set_run_id(run_id);
  Effects effects;
  const auto response = engine_->Stop(now_, request, effects);
  Absorb(std::move(effects));
  return response.status();
}

absl::Status Cluster::Resume(const std::string& run_id, uint32_t workers) {
  v1::ResumeRunRequest request;
  request.set_run_id(run_id);
  request.set_workers(workers);
  Effects effects;
  const auto response = engine_->Resume(now_, request, effects);
  Absorb(std::move(effects));
  return response.status();
}

void Cluster::Restart() {
  links_.clear();
  owners_.clear();
  inboxes_.clear();
  engine_ = std::make_unique<Engine>(options_, [this] { return ++random_; });
  for (const v1::JournalRecord& record : records_) ASSERT_OK(engine_->Restore(record));
  for (const StateKey& key : engine_->NeededStates()) {
    ASSERT_EQ(states_.count(key), 1u)
        << "the journal lost the state of " << key.run_id << " after " << key.step;
    ASSERT_OK(engine_->RestoreState(key, states_.at(key)));
  }
  Absorb(engine_->Start(now_));
}

std::vector<v1::CoordinatorMessage> Cluster::Take(const std::string& id) {
  std::vector<v1::CoordinatorMessage> taken;
  taken.swap(inboxes_[id]);
  return taken;
}

v1::Assignment Cluster::TakeAssignment(const std::string& id) {
  v1::Assignment last;
  for (const v1::CoordinatorMessage& message : Take(id)) {
    if (message.has_assignment()) last = message.assignment();
  }
  return last;
}

const Team& Cluster::team() const {
  EXPECT_EQ(engine_->state().teams.size(), 1u);
  return engine_->state().teams.begin()->second;
}

std::vector<std::string> Cluster::Members() const {
  std::vector<std::string> members;
  if (!has_team()) return members;
  for (const auto& member : team().roster.members()) members.push_back(member.worker().worker_id());
  return members;
}

}  // namespace neolog::coordinator::testing
