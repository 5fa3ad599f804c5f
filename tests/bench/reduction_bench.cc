// The ordered reduction of one step among local workers: every rank gathers the gradients of 8 rows
// of 768 floats from every other over real sockets and adds them in rank order.
//
//   reduction_bench [RANKS] [STEPS]      (default 4 ranks, 2000 steps)
//
// Ranks are threads of one process, each with its own Peer server on a Unix socket; what is between
// them is what is between worker processes. Prints median and 99th percentile of one rank's time a
// step, after a warm-up.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "tests/support/scoped_dir.h"
#include "worker/collective/exchange.h"
#include "worker/collective/peer_grpc.h"

namespace {

using neolog::collective::ExchangeFactory;
using neolog::collective::PeerLinks;
using Clock = std::chrono::steady_clock;

constexpr size_t kFloats = 8 * 768;
constexpr int kWarmUp = 100;

struct Rank {
  std::unique_ptr<PeerLinks> links;
  std::unique_ptr<neolog::collective::Collective> collective;
  std::vector<double> microseconds;
};

absl::Status Run(Rank& rank, int ranks, int steps) {
  std::vector<float> gradient(kFloats, 1.0f / 3);
  std::vector<float> gathered(kFloats * ranks);
  std::vector<float> sum(kFloats);
  const std::vector<size_t> sizes(ranks, kFloats * sizeof(float));
  for (int step = 0; step < kWarmUp + steps; ++step) {
    const auto start = Clock::now();
    RETURN_IF_ERROR(rank.collective->AllGather(std::as_bytes(std::span(gradient)), sizes,
                                               std::as_writable_bytes(std::span(gathered))));
    std::fill(sum.begin(), sum.end(), 0.0f);
    for (int r = 0; r < ranks; ++r) {
      for (size_t i = 0; i < kFloats; ++i) sum[i] += gathered[r * kFloats + i];
    }
    const std::chrono::duration<double, std::micro> took = Clock::now() - start;
    if (step >= kWarmUp) rank.microseconds.push_back(took.count());
  }
  return absl::OkStatus();
}

absl::Status Main(int ranks, int steps) {
  neolog::testing::ScopedDir dir;
  std::vector<Rank> team(ranks);
  neolog::v1::Roster roster;
  roster.set_team_id("bench");
  roster.set_version(1);
  for (int r = 0; r < ranks; ++r) {
    neolog::collective::PeerOptions options;
    options.listen.path = dir.File("w" + std::to_string(r) + ".sock");
    ASSIGN_OR_RETURN(team[r].links, PeerLinks::Start(options));
    auto* member = roster.add_members();
    member->mutable_worker()->set_worker_id("w" + std::to_string(r));
    member->mutable_worker()->set_incarnation(r + 1);
    member->set_peer_address(team[r].links->address());
  }
  for (int r = 0; r < ranks; ++r) {
    ASSIGN_OR_RETURN(
        team[r].collective,
        ExchangeFactory(team[r].links.get()).Create(roster, roster.members(r).worker()));
  }
  std::vector<absl::Status> statuses(ranks);
  {
    std::vector<std::jthread> threads;
    for (int r = 0; r < ranks; ++r) {
      threads.emplace_back([&, r] { statuses[r] = Run(team[r], ranks, steps); });
    }
  }
  for (const absl::Status& status : statuses) RETURN_IF_ERROR(status);
  std::vector<double>& times = team[0].microseconds;
  std::sort(times.begin(), times.end());
  std::printf(
      "ordered reduction of 8 x 768 rows, %d ranks, %d steps: median %.0f us, p99 %.0f us\n", ranks,
      steps, times[times.size() / 2], times[times.size() * 99 / 100]);
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  const int ranks = argc > 1 ? std::atoi(argv[1]) : 4;
  const int steps = argc > 2 ? std::atoi(argv[2]) : 2000;
  if (ranks < 1 || steps < 1) {
    std::fprintf(stderr, "usage: reduction_bench [RANKS] [STEPS]\n");
    return 2;
  }
  if (const absl::Status status = Main(ranks, steps); !status.ok()) {
    std::fprintf(stderr, "reduction_bench: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}
