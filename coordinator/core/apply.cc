#include "coordinator/core/apply.h"

#include <fmt/format.h>

#include "coordinator/core/retention.h"
#include "coordinator/core/run_states.h"

namespace neolog::coordinator {
namespace {

/// Weight of the past in the smoothed loss: about the mean of the last twenty steps.
constexpr double kSmoothing = 0.95;

absl::Time TimeOf(const v1::JournalRecord& record) {
  return absl::FromUnixSeconds(record.time().seconds()) + absl::Nanoseconds(record.time().nanos());
}

absl::StatusOr<Run*> FindRun(ClusterState& state, const std::string& id) {
  const auto run = state.runs.find(id);
  if (run == state.runs.end()) {
    return DataLoss(fmt::format("journal: record about run '{}', which no record submitted", id));
  }
  return &run->second;
}

absl::Status ApplySubmitted(const v1::RunSubmitted& record, absl::Time time, ClusterState& state) {
  if (state.runs.count(record.run_id()) != 0) {
    return DataLoss(fmt::format("journal: run '{}' was submitted twice", record.run_id()));
  }
  Run& run = state.runs[record.run_id()];
  run.id = record.run_id();
  run.spec = record.spec();
  run.idempotency_key = record.idempotency_key();
  run.log_dir = record.log_dir();
  run.order = state.next_order++;
  run.workers = record.spec().resources().workers();
  run.reason = "submitted";
  run.submitted_at = time;
  return absl::OkStatus();
}

absl::Status ApplyRoster(const v1::RosterFormed& record, ClusterState& state) {
  const std::string& id = record.roster().team_id();
  const auto known = state.teams.find(id);
  const uint64_t before = known == state.teams.end() ? 0 : known->second.roster.version();
  if (record.roster().version() != before + 1) {
    return DataLoss(fmt::format("journal: team '{}' has roster version {} after {}", id,
                                record.roster().version(), before));
  }
  Team& team = state.teams[id];
  if (before == 0) ++state.next_team;
  team.roster = record.roster();
  team.profile = record.profile();
  team.run_ids.assign(record.run_ids().begin(), record.run_ids().end());
  team.done.clear();
  for (const std::string& run_id : team.run_ids) {
    ASSIGN_OR_RETURN(Run * run, FindRun(state, run_id));
    run->team_id = id;
    run->in_team = true;
    run->leaving_step = 0;
  }
  return absl::OkStatus();
}

absl::Status ApplyRunState(const v1::RunStateChanged& record, absl::Time time,
                           ClusterState& state) {
  ASSIGN_OR_RETURN(Run * run, FindRun(state, record.run_id()));
  const bool resized = run->state == record.state() && record.workers() != 0;
  if (!resized && !IsArrow(run->state, record.state())) {
    return DataLoss(fmt::format("journal: run '{}' went from {} to {}, which is no arrow", run->id,
                                StateName(run->state), StateName(record.state())));
  }
  run->state = record.state();
  run->reason = record.reason();
  run->failure = record.failure();
  if (record.workers() != 0) run->workers = record.workers();
  if (!IsHeldByTeam(run->state)) run->in_team = false;
  run->ended_at = IsEnd(run->state) ? time : absl::InfinitePast();
  return absl::OkStatus();
}

absl::Status ApplyCommit(const v1::StepsCommitted& record, absl::Time time, ClusterState& state) {
  ASSIGN_OR_RETURN(Run * run, FindRun(state, record.run_id()));
  if (record.steps_size() == 0) {
    return DataLoss(fmt::format("journal: a commit of run '{}' without steps", run->id));
  }
  const uint64_t before = run->committed();
  if (before == 0) run->started_at = time;
  for (const v1::StepRecord& step : record.steps()) {
    if (step.step() != run->committed() + 1) {
      return DataLoss(fmt::format("journal: run '{}' has step {} committed after step {}", run->id,
                                  step.step(), run->committed()));
    }
    run->smoothed_loss = run->steps.empty()
                             ? step.loss()
                             : kSmoothing * run->smoothed_loss + (1 - kSmoothing) * step.loss();
    run->steps.push_back(
        {step.loss(), step.learning_rate(), step.gradient_norm(), step.state_hash()});
  }
  run->state_digest = record.state_digest();
  run->last_is_checkpoint = IsCheckpoint(run->spec, before, run->committed());
  const auto team = state.teams.find(run->team_id);
  if (team != state.teams.end()) team->second.rebuilds_without_commit = 0;
  return absl::OkStatus();
}

}  // namespace

absl::Status Apply(const v1::JournalRecord& record, ClusterState& state) {
  const absl::Time time = TimeOf(record);
  switch (record.body_case()) {
    case v1::JournalRecord::kRunSubmitted:
      return ApplySubmitted(record.run_submitted(), time, state);
    case v1::JournalRecord::kProfileResolved: {
      ASSIGN_OR_RETURN(Run * run, FindRun(state, record.profile_resolved().run_id()));
      run->profile = record.profile_resolved().profile();
      return absl::OkStatus();
    }
    case v1::JournalRecord::kRosterFormed: return ApplyRoster(record.roster_formed(), state);
    case v1::JournalRecord::kTeamDisbanded:
      if (state.teams.erase(record.team_disbanded().team_id()) == 0) {
        return DataLoss(fmt::format("journal: team '{}' is disbanded and was never formed",
                                    record.team_disbanded().team_id()));
      }
      return absl::OkStatus();
    case v1::JournalRecord::kRunStateChanged:
      return ApplyRunState(record.run_state_changed(), time, state);
    case v1::JournalRecord::kStepsCommitted:
      return ApplyCommit(record.steps_committed(), time, state);
    case v1::JournalRecord::kLatentChosen: {
      const v1::LatentReport& latent = record.latent_chosen().latent();
      state.latents.emplace(latent.key(), latent);
      for (const std::string& run : record.latent_chosen().run_ids()) {
        state.run_latents[run].insert(latent.key());
      }
      return absl::OkStatus();
    }
    case v1::JournalRecord::kArtifactMade: {
      ASSIGN_OR_RETURN(Run * run, FindRun(state, record.artifact_made().artifact().run_id()));
      run->artifacts.push_back(record.artifact_made().artifact());
      return absl::OkStatus();
    }
    case v1::JournalRecord::BODY_NOT_SET:
      return DataLoss(
          "journal: a record of a kind that this version does not know; it was written by a newer "
          "coordinator, use that one");
  }
  return absl::OkStatus();
}

std::string DescribeDurable(const ClusterState& state) {
  std::string text = fmt::format("next order {} team {}\n", state.next_order, state.next_team);
  for (const auto& [id, run] : state.runs) {
    text += fmt::format(
        "run {} order {} key '{}' dir '{}' state {} reason '{}' failure '{}' workers {}\n", id,
        run.order, run.idempotency_key, run.log_dir, StateName(run.state), run.reason,
        run.failure.ShortDebugString(), run.workers);
    text += fmt::format("  spec {}\n  profile {}\n", run.spec.ShortDebugString(),
                        run.profile ? run.profile->ShortDebugString() : "none");
    text += fmt::format("  times {} {} {} digest {} smoothed {} team '{}' in {}\n",
                        absl::ToUnixNanos(run.submitted_at), absl::ToUnixNanos(run.started_at),
                        absl::ToUnixNanos(run.ended_at), run.state_digest, run.smoothed_loss,
                        run.team_id, run.in_team);
    for (const CommittedStep& step : run.steps) {
      text += fmt::format("  step {} {} {} {:016x}\n", step.loss, step.learning_rate,
                          step.gradient_norm, step.state_hash);
    }
    for (const auto& artifact : run.artifacts)
      text += fmt::format("  artifact {}\n", artifact.ShortDebugString());
  }
  for (const auto& [id, team] : state.teams) {
    text += fmt::format("team {} roster {} profile {} runs", id, team.roster.ShortDebugString(),
                        team.profile.ShortDebugString());
    for (const std::string& run : team.run_ids) text += " " + run;
    text += "\n";
  }
  for (const auto& [key, latent] : state.latents)
    text += fmt::format("latent {} {}\n", key, latent.blob_digest());
  for (const auto& [run, keys] : state.run_latents) {
    for (const std::string& key : keys) text += fmt::format("run {} uses latent {}\n", run, key);
  }
  return text;
}

}  // namespace neolog::coordinator
