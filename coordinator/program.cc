#include "coordinator/program.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "common/base/hash.h"
#include "common/base/log.h"
#include "common/base/process.h"
#include "common/base/version.h"
#include "common/storage/file_blob_store.h"
#include "common/storage/posix_file_system.h"
#include "coordinator/grpc/server_grpc.h"
#include "coordinator/journal/sqlite_journal.h"
#include "coordinator/projection/embedding_files.h"
#include "coordinator/projection/projector.h"
#include "coordinator/runtime/runtime.h"

namespace neolog::coordinator {
namespace {

/// How long open calls may take to end at a shutdown.
constexpr absl::Duration kShutdownGrace = absl::Seconds(1);

/// Why the program is to end; the first reason counts.
class EndRequest {
 public:
  int fd() const { return wake_.fd(); }
  void Ask(const std::string& reason, const absl::Status& status) {
    MutexLock lock(mutex_);
    if (!reason_.empty()) return;
    reason_ = reason.empty() ? "asked to" : reason;
    status_ = status;
    wake_.Wake();
  }
  std::string reason() {
    MutexLock lock(mutex_);
    return reason_;
  }
  absl::Status status() {
    MutexLock lock(mutex_);
    return status_;
  }

 private:
  WakeFd wake_;
  Mutex mutex_;
  std::string reason_ GUARDED_BY(mutex_);
  absl::Status status_ GUARDED_BY(mutex_);
};

absl::Status PrepareStateDir(const std::string& path) {
  if (::mkdir(path.c_str(), S_IRWXU) != 0 && errno != EEXIST) {
    return Unavailable(
        fmt::format("cannot make the state directory '{}': {}", path, std::strerror(errno)));
  }
  struct stat info;
  if (::stat(path.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return FailedPrecondition(
        fmt::format("'{}' is no directory: choose another --state-dir", path));
  }
  // The journal and the pictures are the user's alone, and so is the socket in here.
  if ((info.st_mode & 0077) != 0 && ::chmod(path.c_str(), S_IRWXU) != 0) {
    return FailedPrecondition(
        fmt::format("the state directory '{}' is open to other users and cannot be closed: {}",
                    path, std::strerror(errno)));
  }
  return absl::OkStatus();
}

/// Waits for a signal or a request to end.
void WaitForEnd(SignalPipe& signals, EndRequest& end) {
  while (end.reason().empty()) {
    pollfd descriptors[2] = {{signals.fd(), POLLIN, 0}, {end.fd(), POLLIN, 0}};
    if (::poll(descriptors, 2, -1) < 0 && errno != EINTR) {
      end.Ask("poll failed", Internal(fmt::format("poll: {}", std::strerror(errno))));
    }
    for (const int signal : signals.Take()) {
      end.Ask(fmt::format("signal {}", signal), absl::OkStatus());
    }
  }
}

}  // namespace

ParsedCommandLine ParseCommandLine(int argc, char** argv) {
  ParsedCommandLine parsed;
  ProgramOptions& options = parsed.options;
  CLI::App app{
      "The coordinator of a Neolog cluster: hands out work to workers and keeps the state of every "
      "run."};
  std::string format = "text";
  int lease_ms = 1000;
  int heartbeat_ms = 250;
  app.add_option("--state-dir", options.state_dir,
                 "Where the journal, the blobs and the lock are kept")
      ->required();
  app.add_option(
      "--listen", options.listen,
      "gRPC target to listen on, repeatable: unix:/path or 127.0.0.1:port (port 0: a free one); "
      "default unix:<state-dir>/coordinator.sock");
  app.add_option("--log-level", options.log_level, "trace, debug, info, warn, error or off")
      ->check(CLI::IsMember({"trace", "debug", "info", "warn", "error", "off"}))
      ->capture_default_str();
  app.add_option("--log-format", format, "text, or json: one object a line")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
  app.add_option("--lease-ms", lease_ms, "A worker that is silent this long is lost")
      ->check(CLI::Range(50, 600000))
      ->capture_default_str();
  app.add_option("--heartbeat-ms", heartbeat_ms,
                 "How often workers say that they live; less than half of the lease")
      ->check(CLI::Range(10, 300000))
      ->capture_default_str();
  app.set_version_flag("--version", std::string(kVersion));
  try {
    app.parse(argc, argv);
    if (2 * heartbeat_ms > lease_ms) {
      throw CLI::ValidationError(
          "--heartbeat-ms",
          fmt::format("{} is more than half of the lease ({})", heartbeat_ms, lease_ms));
    }
    options.log_json = format == "json";
    options.lease = absl::Milliseconds(lease_ms);
    options.heartbeat_interval = absl::Milliseconds(heartbeat_ms);
    parsed.run = true;
  } catch (const CLI::CallForHelp&) {
    parsed.print = app.help();
  } catch (const CLI::CallForVersion&) {
    parsed.print = fmt::format("neolog-coordinator {}\n", kVersion);
  } catch (const CLI::Error& error) {
    parsed.exit_code = 2;
    parsed.print =
        fmt::format("neolog-coordinator: {}\nRun with --help for the options.\n", error.what());
  }
  return parsed;
}

absl::Status RunCoordinator(const ProgramOptions& options) {
  ::signal(SIGPIPE, SIG_IGN);  // a log whose reader died must not end the cluster
  ASSIGN_OR_RETURN(const auto signals, SignalPipe::Create({SIGTERM, SIGINT}));
  RETURN_IF_ERROR(PrepareStateDir(options.state_dir));
  ASSIGN_OR_RETURN_WITH(const auto lock, LockFile::Acquire(options.state_dir + "/coordinator.lock"),
                        fmt::format("a coordinator runs in '{}' already", options.state_dir));

  ServerSetup setup;
  std::vector<std::string> listen = options.listen;
  if (listen.empty()) listen.push_back("unix:" + options.state_dir + "/coordinator.sock");
  for (const std::string& text : listen) {
    ASSIGN_OR_RETURN_WITH(Target target, ParseTarget(text), "--listen");
    setup.targets.push_back(std::move(target));
  }

  SystemClock clock;
  SystemTimers timers;
  EndRequest end;
  const std::unique_ptr<FileSystem> fs = MakePosixFileSystem();
  ASSIGN_OR_RETURN(const auto blobs, FileBlobStore::Create(fs.get(), options.state_dir + "/blobs"));
  ASSIGN_OR_RETURN(const auto journal, SqliteJournal::Open(options.state_dir + "/journal.db"));
  ASSIGN_OR_RETURN(const auto projector, Projector::Create({.fs = fs.get(),
                                                            .blobs = blobs.get(),
                                                            .journal = journal.get(),
                                                            .write_embedding = MakeEmbeddingFile}));
  RuntimeOptions runtime_options;
  runtime_options.core.lease = options.lease;
  runtime_options.core.heartbeat_interval = options.heartbeat_interval;
  ASSIGN_OR_RETURN(
      const auto runtime,
      Runtime::Create(runtime_options, {.journal = journal.get(),
                                        .blobs = blobs.get(),
                                        .clock = &clock,
                                        .timers = &timers,
                                        .directories = projector.get(),
                                        .observer = projector.get(),
                                        .random = RandomBits64,
                                        .on_fatal = [&end](const absl::Status& status) {
                                          end.Ask("the journal failed", status);
                                        }}));
  setup.on_shutdown = [&end](const std::string& reason) { end.Ask(reason, absl::OkStatus()); };
  ASSIGN_OR_RETURN(const auto server, Server::Start(setup, *runtime, *blobs));
  for (const std::string& address : server->addresses())
    spdlog::info("version {} listens on {}", kVersion, address);

  WaitForEnd(*signals, end);
  spdlog::info("ending: {}", end.reason());
  if (end.status().ok()) runtime->TellWorkersToLeave(end.reason());
  server->Stop(kShutdownGrace);
  runtime->Stop();
  return end.status();
}

}  // namespace neolog::coordinator
