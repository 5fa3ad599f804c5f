#include "coordinator/core/registry.h"

#include <fmt/format.h>

#include "common/base/version.h"

namespace neolog::coordinator {
namespace {

RegistrationDecision Refuse(v1::Refused::Code code, std::string message) {
  RegistrationDecision decision;
  decision.kind = RegistrationDecision::Kind::kRefuse;
  decision.refusal.set_code(code);
  decision.refusal.set_message(message);
  decision.reason = std::move(message);
  return decision;
}

RegistrationDecision Accept(RegistrationDecision::Kind kind, std::string reason) {
  RegistrationDecision decision;
  decision.kind = kind;
  decision.reason = std::move(reason);
  return decision;
}

}  // namespace

std::string MajorMinor(std::string_view version) {
  const size_t first = version.find('.');
  if (first == std::string_view::npos) return std::string(version);
  return std::string(version.substr(0, version.find('.', first + 1)));
}

std::string WorkerName(const v1::WorkerIdentity& worker) {
  return fmt::format("'{}' (incarnation {:016x})", worker.worker_id(), worker.incarnation());
}

RegistrationDecision DecideRegistration(const ClusterState& state, const v1::WorkerIdentity& worker,
                                        const v1::Register& info) {
  using Kind = RegistrationDecision::Kind;
  if (MajorMinor(info.version()) != MajorMinor(kVersion)) {
    return Refuse(
        v1::Refused::CODE_VERSION,
        fmt::format(
            "worker {} has version '{}', this coordinator {}: install the same major.minor on both",
            WorkerName(worker), info.version(), kVersion));
  }
  const auto known = state.workers.find(worker.worker_id());
  if (known == state.workers.end()) return Accept(Kind::kNew, "registered");
  const Worker& earlier = known->second;
  if (SameIdentity(earlier.identity, worker)) {
    if (earlier.lost) {
      return Refuse(
          v1::Refused::CODE_STALE_INCARNATION,
          fmt::format(
              "worker {} was lost ({}): register with a new incarnation; the model may stay loaded",
              WorkerName(worker), earlier.reason));
    }
    return Accept(Kind::kReconnect, "opened a new stream");
  }
  if (earlier.lost) return Accept(Kind::kNew, "registered with a new incarnation");
  if (earlier.link != 0) {
    return Refuse(
        v1::Refused::CODE_DUPLICATE_ID,
        fmt::format(
            "worker id '{}' is taken by process {} on '{}': start this one with another --id, or "
            "wait until the other's lease ends",
            worker.worker_id(), earlier.info.process_id(), earlier.info.host()));
  }
  RegistrationDecision decision =
      Accept(Kind::kNew, "took over from an incarnation whose stream is closed");
  decision.replaces_earlier = true;
  return decision;
}

std::vector<Loss> ExpiredWorkers(const ClusterState& state, SteadyTime now) {
  std::vector<Loss> losses;
  for (const auto& [id, worker] : state.workers) {
    if (worker.lost || now < worker.lease_ends) continue;
    std::string reason;
    if (!worker.registered) {
      reason = "it did not come back after the coordinator's restart";
    } else if (worker.link == 0) {
      reason = "its stream closed and did not come back";
    } else {
      reason = fmt::format("no heartbeat for {:.2f} s",
                           absl::ToDoubleSeconds(now - worker.last_heartbeat));
    }
    losses.push_back({id, std::move(reason)});
  }
  return losses;
}

AccusationDecision DecideAccusation(const ClusterState& state, const v1::WorkerIdentity& accuser,
                                    const v1::PeerFailure& failure) {
  using Kind = AccusationDecision::Kind;
  const auto team = state.teams.find(failure.team_id());
  if (team == state.teams.end() || team->second.roster.version() != failure.roster_version() ||
      !IsMember(team->second.roster, failure.peer()) || !IsMember(team->second.roster, accuser)) {
    return {Kind::kIgnore, "not about a member of the current roster"};
  }
  const auto accused = state.workers.find(failure.peer().worker_id());
  if (accused == state.workers.end() || !SameIdentity(accused->second.identity, failure.peer()) ||
      accused->second.lost) {
    return {Kind::kIgnore, "already lost"};
  }
  if (accused->second.link == 0) {
    return {Kind::kLost, fmt::format("its stream is closed, and '{}' cannot reach it either: {}",
                                     accuser.worker_id(), failure.message())};
  }
  if (SameIdentity(accuser, failure.peer()))
    return {Kind::kSuspect, fmt::format("it cannot gather: {}", failure.message())};
  return {Kind::kSuspect,
          fmt::format("'{}' cannot reach it: {}", accuser.worker_id(), failure.message())};
}

SuspicionDecision DecideSuspicion(const CoreOptions& options, const Worker& worker,
                                  const Team& team) {
  using Kind = SuspicionDecision::Kind;
  const Suspicion& suspicion = *worker.suspicion;
  if (worker.heartbeats == suspicion.heartbeats_before) {
    return {Kind::kLease, "silent since a peer complained; its lease decides"};
  }
  const std::string& id = worker.identity.worker_id();
  const std::string what =
      suspicion.accuser == id
          ? fmt::format("'{}' cannot gather ({})", id, suspicion.message)
          : fmt::format("the link between '{}' and '{}' broke while both live ({})",
                        suspicion.accuser, id, suspicion.message);
  if (team.rebuilds_without_commit >= options.max_rebuilds) {
    return {Kind::kRemove, fmt::format("{}, {} times without a commit in between", what,
                                       options.max_rebuilds + 1)};
  }
  return {Kind::kRebuild, what + ": same members, new links"};
}

}  // namespace neolog::coordinator
