#include "coordinator/core/placement.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "coordinator/core/profile.h"

namespace neolog::coordinator {
namespace {

/// The largest group of workers that compute the same bits and fit the run; of equal ones, that of
/// the lowest id.
struct Fit {
  std::vector<std::string> workers;
  v1::NumericProfile profile;
  std::string why_not;  // of the last one that did not fit
};

Fit FindFit(const ClusterState& state, const Run& run, const std::vector<std::string>& idle) {
  Fit best;
  std::vector<Fit> groups;
  for (const std::string& id : idle) {
    const Worker& worker = state.workers.at(id);
    const v1::WorkerCapabilities& offers = worker.info.capabilities();
    if (std::string why_not = WhyNot(run, worker); !why_not.empty()) {
      best.why_not = fmt::format("'{}' does not fit: {}", id, why_not);
      continue;
    }
    const v1::NumericProfile profile =
        run.profile ? *run.profile : ResolveProfile(run.spec, offers);
    const auto group = std::find_if(groups.begin(), groups.end(),
                                    [&](const Fit& g) { return SameProfile(g.profile, profile); });
    if (group == groups.end()) {
      groups.push_back({{id}, profile, ""});
    } else {
      group->workers.push_back(id);
    }
  }
  for (Fit& group : groups) {
    if (group.workers.size() > best.workers.size()) {
      best.workers = std::move(group.workers);
      best.profile = std::move(group.profile);
    }
  }
  return best;
}

SteadyTime LastRegistration(const ClusterState& state, const std::vector<std::string>& ids) {
  SteadyTime last = -absl::InfiniteDuration();
  for (const std::string& id : ids) last = std::max(last, state.workers.at(id).registered_at);
  return last;
}

std::vector<const Run*> Queue(const ClusterState& state) {
  std::vector<const Run*> queue;
  for (const auto& [id, run] : state.runs) {
    if (run.state == v1::RUN_STATE_QUEUED) queue.push_back(&run);
  }
  std::sort(queue.begin(), queue.end(),
            [](const Run* a, const Run* b) { return a->order < b->order; });
  return queue;
}

void Take(std::vector<std::string>& idle, const std::vector<std::string>& taken) {
  std::erase_if(idle, [&](const std::string& id) {
    return std::find(taken.begin(), taken.end(), id) != taken.end();
  });
}

std::string Plural(size_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

/// Forms the teams for the queue's head and the runs that may be packed with it, and takes both out
/// of the lists.
void PlaceHead(const CoreOptions& options, const ClusterState& state, const Fit& fit,
               std::vector<const Run*>& queue, std::vector<std::string>& idle,
               PlacementDecision& decision) {
  const Run& head = *queue.front();
  const size_t wanted =
      head.workers == 0 ? fit.workers.size() : std::min<size_t>(head.workers, fit.workers.size());
  std::vector<const Run*> packed;
  const auto barred = [&](const Run& run) {
    return std::any_of(fit.workers.begin(), fit.workers.end(), [&](const std::string& id) {
      return run.barred.count(IncarnationOf(state.workers.at(id).identity)) != 0;
    });
  };
  for (const Run* run : queue) {
    if (Compatible(head, *run) && !barred(*run) &&
        (!run->profile || SameProfile(*run->profile, fit.profile)))
      packed.push_back(run);
  }
  const size_t teams = std::min(fit.workers.size() / wanted, packed.size());
  packed.resize(std::min<size_t>(packed.size(), teams * options.max_pack_runs));

  std::vector<Placement> formed(teams);
  for (size_t i = 0; i < packed.size(); ++i) formed[i % teams].run_ids.push_back(packed[i]->id);
  for (size_t t = 0; t < teams; ++t) {
    const auto first = fit.workers.begin() + static_cast<std::ptrdiff_t>(t * wanted);
    formed[t].worker_ids.assign(first, first + static_cast<std::ptrdiff_t>(wanted));
    formed[t].profile = fit.profile;
    formed[t].reason =
        fmt::format("{} on {}", Plural(formed[t].run_ids.size(), "run"), Plural(wanted, "worker"));
    Take(idle, formed[t].worker_ids);
    decision.teams.push_back(std::move(formed[t]));
  }
  std::erase_if(queue, [&](const Run* run) {
    return std::find(packed.begin(), packed.end(), run) != packed.end();
  });
}

/// The number of members a team may have: the smallest wish of its runs; 0 means no limit.
uint32_t TeamLimit(const ClusterState& state, const std::vector<std::string>& runs) {
  uint32_t limit = 0;
  for (const std::string& id : runs) {
    const uint32_t wanted = state.runs.at(id).workers;
    if (wanted != 0 && (limit == 0 || wanted < limit)) limit = wanted;
  }
  return limit;
}

/// True while members read from the journal have not come back: membership is left alone.
bool AwaitsMembers(const ClusterState& state, const Team& team) {
  return std::any_of(team.roster.members().begin(), team.roster.members().end(),
                     [&](const auto& member) {
                       const auto worker = state.workers.find(member.worker().worker_id());
                       return worker != state.workers.end() && !worker->second.registered;
                     });
}

void Grow(const ClusterState& state, std::vector<std::string> idle, PlacementDecision& decision) {
  for (const auto& [id, team] : state.teams) {
    const std::vector<std::string> runs = ActiveRuns(state, team);
    if (runs.empty() || AwaitsMembers(state, team)) continue;
    const bool leaving = std::all_of(runs.begin(), runs.end(), [&](const std::string& run) {
      return state.runs.at(run).state != v1::RUN_STATE_RUNNING;
    });
    if (leaving) continue;
    const uint32_t limit = TeamLimit(state, runs);
    const size_t size = static_cast<size_t>(team.roster.members_size());
    Growth growth;
    growth.team_id = id;
    for (const std::string& worker_id : idle) {
      if (limit != 0 && size + growth.worker_ids.size() >= limit) break;
      const Worker& worker = state.workers.at(worker_id);
      if (!WhyNot(team.profile, worker.info.capabilities()).empty()) continue;
      const Incarnation incarnation = IncarnationOf(worker.identity);
      if (team.barred.count(incarnation) != 0) continue;
      // Also whether it has the kind of device, which a profile under reduce: fast does not say.
      if (std::any_of(runs.begin(), runs.end(), [&](const std::string& run) {
            return !WhyNot(state.runs.at(run), worker).empty();
          })) {
        continue;
      }
      growth.worker_ids.push_back(worker_id);
    }
    if (growth.worker_ids.empty()) continue;
    for (const std::string& worker_id : growth.worker_ids) {
      growth.reason += (growth.reason.empty() ? "'" : ", '") + worker_id + "'";
    }
    growth.reason += " joined";
    Take(idle, growth.worker_ids);
    decision.growths.push_back(std::move(growth));
  }
}

}  // namespace

std::vector<std::string> IdleWorkers(const ClusterState& state) {
  std::vector<std::string> idle;
  for (const auto& [id, worker] : state.workers) {
    if (!worker.lost && worker.registered && worker.link != 0 && worker.hung.empty() &&
        TeamOf(state, worker.identity) == nullptr) {
      idle.push_back(id);
    }
  }
  return idle;
}

bool Compatible(const Run& a, const Run& b) {
  if (a.profile && b.profile && !SameProfile(*a.profile, *b.profile)) return false;
  return a.spec.model().fingerprint() == b.spec.model().fingerprint() &&
         a.spec.model().path() == b.spec.model().path() &&
         a.spec.model().precision() == b.spec.model().precision() &&
         a.spec.model().vae() == b.spec.model().vae() &&
         a.spec.model().prediction() == b.spec.model().prediction() &&
         a.spec.data().resolution() == b.spec.data().resolution() &&
         a.spec.model().allow_slow_attention() == b.spec.model().allow_slow_attention() &&
         a.spec.resources().device() == b.spec.resources().device() &&
         (a.spec.resources().cuda_graph() == "on") == (b.spec.resources().cuda_graph() == "on") &&
         a.spec.resources().threads_per_worker() == b.spec.resources().threads_per_worker() &&
         a.spec.training().microbatch() == b.spec.training().microbatch() &&
         a.spec.training().reduce() == b.spec.training().reduce() && a.workers == b.workers;
}

PlacementDecision Place(const CoreOptions& options, const ClusterState& state, SteadyTime now) {
  PlacementDecision decision;
  std::vector<std::string> idle = IdleWorkers(state);
  std::vector<const Run*> queue = Queue(state);
  while (!queue.empty()) {
    const Run& head = *queue.front();
    const Fit fit = FindFit(state, head, idle);
    if (fit.workers.empty()) {
      decision.waiting.push_back({head.id, fit.why_not.empty()
                                               ? std::string("waits for an idle worker")
                                               : "no idle worker fits; " + fit.why_not});
      queue.erase(queue.begin());
      continue;
    }
    const bool enough = head.workers != 0 && fit.workers.size() >= head.workers;
    const SteadyTime settled = LastRegistration(state, fit.workers) + options.settle;
    if (!enough && now < settled) {
      decision.waiting.push_back(
          {head.id, fmt::format("{} idle; waits a moment for more to register",
                                Plural(fit.workers.size(), "worker"))});
      Take(idle, fit.workers);
      queue.erase(queue.begin());
      continue;
    }
    PlaceHead(options, state, fit, queue, idle, decision);
  }
  Grow(state, idle, decision);
  return decision;
}

}  // namespace neolog::coordinator
