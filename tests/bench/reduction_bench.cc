// The reduction of one step among local workers: every rank gathers the gradients of 8 rows of 768
// floats from every other and adds them in rank order, or (--reduce fast) lets the collective add.
//
//   reduction_bench [RANKS] [STEPS] [--over peer|nccl] [--reduce ordered|fast]
//
// Ranks are threads of one process, each with its own Peer server on a Unix socket; what is between
// them is what is between worker processes. Over NCCL rank r has CUDA device r. Prints median and
// 99th percentile of one rank's time a step, after a warm-up.

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/scoped_dir.h"
#include "worker/collective/exchange.h"
#include "worker/collective/nccl/nccl_collective.h"
#include "worker/collective/peer_grpc.h"

namespace {

using neolog::collective::CollectiveFactory;
using neolog::collective::ExchangeFactory;
using neolog::collective::PeerLinks;
namespace nccl = neolog::collective::nccl;
using Clock = std::chrono::steady_clock;

constexpr size_t kFloats = 8 * 768;
constexpr int kWarmUp = 100;

struct Arguments {
  int ranks = 4;
  int steps = 2000;
  std::string over = "peer";
  std::string reduce = "ordered";
  nccl::LibraryPaths libraries;
};

struct Rank {
  std::unique_ptr<PeerLinks> links;
  std::unique_ptr<CollectiveFactory> factory;
  std::unique_ptr<neolog::collective::Collective> collective;
  std::vector<double> microseconds;
};

absl::Status RunFast(Rank& rank, int steps) {
  std::vector<float> gradient(kFloats);
  for (int step = 0; step < kWarmUp + steps; ++step) {
    std::fill(gradient.begin(), gradient.end(), 1.0f / 3);
    const auto start = Clock::now();
    RETURN_IF_ERROR(rank.collective->AllReduceSum(gradient));
    const std::chrono::duration<double, std::micro> took = Clock::now() - start;
    if (step >= kWarmUp) rank.microseconds.push_back(took.count());
  }
  return absl::OkStatus();
}

absl::Status RunOrdered(Rank& rank, int ranks, int steps) {
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

absl::Status Main(const Arguments& arguments) {
  const int ranks = arguments.ranks;
  std::shared_ptr<const nccl::Libraries> libraries;
  if (arguments.over == "nccl") {
    ASSIGN_OR_RETURN(libraries, nccl::Load(arguments.libraries));
  }
  neolog::testing::ScopedDir dir;
  std::vector<Rank> team(ranks);
  neolog::v1::Roster roster;
  roster.set_team_id("bench");
  roster.set_version(1);
  for (int r = 0; r < ranks; ++r) {
    neolog::collective::PeerOptions options;
    options.listen.path = dir.File("w" + std::to_string(r) + ".sock");
    ASSIGN_OR_RETURN(team[r].links, PeerLinks::Start(options));
    if (libraries == nullptr) {
      team[r].factory = std::make_unique<ExchangeFactory>(team[r].links.get());
    } else {
      team[r].factory = std::make_unique<nccl::NcclFactory>(
          libraries, team[r].links.get(), nccl::NcclOptions{.communicator = {.device = r}});
    }
    auto* member = roster.add_members();
    member->mutable_worker()->set_worker_id("w" + std::to_string(r));
    member->mutable_worker()->set_incarnation(r + 1);
    member->set_peer_address(team[r].links->address());
  }
  for (int r = 0; r < ranks; ++r) {
    ASSIGN_OR_RETURN(team[r].collective,
                     team[r].factory->Create(roster, roster.members(r).worker()));
  }
  std::vector<absl::Status> statuses(ranks);
  {
    std::vector<std::jthread> threads;
    for (int r = 0; r < ranks; ++r) {
      threads.emplace_back([&, r] {
        statuses[r] = arguments.reduce == "fast" ? RunFast(team[r], arguments.steps)
                                                 : RunOrdered(team[r], ranks, arguments.steps);
        team[r].collective.reset();  // together, as a team leaves
      });
    }
  }
  for (const absl::Status& status : statuses) RETURN_IF_ERROR(status);
  std::vector<double>& times = team[0].microseconds;
  std::sort(times.begin(), times.end());
  std::printf(
      "%s reduction of 8 x 768 rows over %s, %d ranks, %d steps: median %.0f us, p99 %.0f us\n",
      arguments.reduce.c_str(), arguments.over.c_str(), ranks, arguments.steps,
      times[times.size() / 2], times[times.size() * 99 / 100]);
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  CLI::App app{"The reduction of one step among local workers."};
  app.add_option("ranks", arguments.ranks)->check(CLI::Range(1, 64))->capture_default_str();
  app.add_option("steps", arguments.steps)->check(CLI::Range(1, 1 << 20))->capture_default_str();
  app.add_option("--over", arguments.over)->check(CLI::IsMember({"peer", "nccl"}));
  app.add_option("--reduce", arguments.reduce)->check(CLI::IsMember({"ordered", "fast"}));
  app.add_option("--nccl-library", arguments.libraries.nccl)->capture_default_str();
  app.add_option("--cudart-library", arguments.libraries.cudart)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  if (const absl::Status status = Main(arguments); !status.ok()) {
    std::fprintf(stderr, "reduction_bench: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}
