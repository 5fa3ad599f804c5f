#include <fmt/format.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <thread>
#include <vector>

#include "common/base/log.h"
#include "coordinator/journal/sqlite_journal.h"
#include "tests/coordinator/grpc/cluster.h"

// What one coordinator takes over a Unix socket, with its journal on disk: heartbeats a second from
// several workers, and commits a second from several teams of one (every commit journaled with its
// state and acknowledged before it counts).

namespace {

using namespace neolog;
using namespace neolog::coordinator;
using namespace neolog::coordinator::testing;
using Time = std::chrono::steady_clock;

constexpr int kStreams = 8;
constexpr int kCommitsInFlight = 16;
constexpr auto kDuration = std::chrono::seconds(4);

double Seconds(Time::duration duration) { return std::chrono::duration<double>(duration).count(); }

/// Each stream writes heartbeats as fast as the coordinator takes them; a Register at the end is
/// answered behind them all.
double HeartbeatsPerSecond(GrpcCluster& cluster) {
  std::atomic<uint64_t> total = 0;
  const auto start = Time::now();
  std::vector<std::thread> threads;
  for (int s = 0; s < kStreams; ++s) {
    threads.emplace_back([&, s] {
      FakeWorker worker(cluster.Channel(), fmt::format("h{}", s));
      v1::CoordinatorMessage message;
      worker.Register();
      worker.WaitFor(v1::CoordinatorMessage::kRegistered, &message);
      v1::WorkerMessage heartbeat;
      heartbeat.mutable_heartbeat()->set_phase("idle");
      uint64_t sent = 0;
      while (Time::now() - start < kDuration) {
        for (int i = 0; i < 100 && worker.Say(heartbeat); ++i) ++sent;
      }
      worker.Register();
      if (!worker.WaitFor(v1::CoordinatorMessage::kRegistered, &message)) std::abort();
      total += sent;
    });
  }
  for (std::thread& thread : threads) thread.join();
  return static_cast<double>(total) / Seconds(Time::now() - start);
}

double CommitsPerSecond(GrpcCluster& cluster) {
  std::atomic<uint64_t> total = 0;
  const auto start = Time::now();
  std::vector<std::thread> threads;
  for (int s = 0; s < kStreams; ++s) {
    threads.emplace_back([&, s] {
      // A profile of its own (threads), so that every worker trains its own run.
      const auto threads_of_worker = static_cast<uint32_t>(s + 1);
      FakeWorker worker(cluster.Channel(), fmt::format("c{}", s));
      v1::CoordinatorMessage message;
      worker.Register(MakeRegister(threads_of_worker));
      v1::SubmitRunRequest request;
      *request.mutable_spec() = MakeSpec(fmt::format("run{}", s), 10'000'000, 1);
      request.mutable_spec()->mutable_resources()->set_threads_per_worker(threads_of_worker);
      cluster.runtime().Submit(request, [](auto response) {
        if (!response.ok()) std::abort();
      });
      worker.WaitFor(v1::CoordinatorMessage::kAssignment, &message);
      const v1::Assignment assignment = message.assignment();
      uint64_t sent = 0;
      uint64_t done = 0;
      while (Time::now() - start < kDuration) {
        while (sent < done + kCommitsInFlight) {
          ++sent;
          worker.Commit(assignment, sent, sent);
        }
        if (!worker.WaitFor(v1::CoordinatorMessage::kCommitted, &message)) std::abort();
        done = message.committed().step();
      }
      total += done;
    });
  }
  for (std::thread& thread : threads) thread.join();
  return static_cast<double>(total) / Seconds(Time::now() - start);
}

}  // namespace

int main() {
  neolog::testing::ScopedDir dir;
  spdlog::set_level(spdlog::level::warn);
  auto journal = SqliteJournal::Open(dir.File("journal.db"));
  if (!journal.ok()) return 1;
  CoreOptions core;
  core.lease = absl::Seconds(60);
  GrpcCluster cluster(journal->get(), core);
  fmt::print("one coordinator, {} streams over a Unix socket, journal on disk:\n", kStreams);
  fmt::print("  heartbeats/s  {:.0f}\n", HeartbeatsPerSecond(cluster));
  fmt::print(
      "  commits/s     {:.0f}  (each durable before it is acknowledged, {} in flight a stream)\n",
      CommitsPerSecond(cluster), kCommitsInFlight);
  return 0;
}
