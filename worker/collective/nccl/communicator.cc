#include "worker/collective/nccl/communicator.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "worker/collective/link.h"

namespace neolog::collective::nccl {
namespace {

/// Waits between two looks at something that is under way: not at all for as long as an exchange
/// among ranks that are all there takes, then ever longer, up to a fifth of a millisecond.
class Backoff {
 public:
  void Wait() {
    if (++looks_ < 200) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(std::min(looks_ / 10, 200)));
    }
  }

 private:
  int looks_ = 0;
};

}  // namespace

/// What the communicator's thread works on. Members without GUARDED_BY belong to that thread,
/// except where said.
class Communicator::Core {
 public:
  Core(std::shared_ptr<const Libraries> libraries, Options options,
       std::function<absl::Status()> watch)
      : libraries_(std::move(libraries)), options_(std::move(options)), watch_(std::move(watch)) {}

  // For callers.
  absl::Status Do(State meanwhile, std::function<absl::Status()> work);
  void Abort(const absl::Status& reason);
  State state() const;
  /// Waits for the thread to end. False when it did not within abort_limit.
  bool AwaitEnd();
  void OnStuck();
  /// Space for `bytes` on the way to and from the device, without waiting for it when it is there.
  absl::Status Reserve(size_t bytes);
  /// Copies in and out of that space. Aborted or whatever ended the communicator, and its space.
  absl::Status Stage(std::span<const std::byte> send);
  absl::Status Fetch(std::span<std::byte> receive);

  // On the thread.
  void Loop();
  absl::StatusOr<UniqueId> MakeId();
  absl::Status Init(const UniqueId& id, int rank, int size);
  absl::Status Run(Operation::Kind kind, int root, size_t send, size_t receive);

 private:
  /// Two stretches each of pinned host memory and of the device's, for what goes out and what
  /// comes.
  struct Staging {
    size_t bytes = 0;  // of a stretch
    std::byte* host = nullptr;
    std::byte* device = nullptr;
  };

  absl::Status Open();
  absl::Status Grow(size_t bytes);
  void Release();
  void Close();
  absl::Status Poll();
  absl::Status AwaitComm(const char* call);
  Result Launch(Operation::Kind kind, int root, size_t bytes);
  absl::Status Nccl(const char* call, Result result) const;
  absl::Status Cuda(const char* call, CudaError error) const;

  const std::shared_ptr<const Libraries> libraries_;
  const Options options_;
  const std::function<absl::Status()> watch_;

  mutable Mutex mutex_;
  CondVar changed_;
  State state_ GUARDED_BY(mutex_) = State::kNew;
  absl::Status dead_ GUARDED_BY(mutex_);
  std::function<absl::Status()> work_ GUARDED_BY(mutex_);
  bool done_ GUARDED_BY(mutex_) = false;
  absl::Status result_ GUARDED_BY(mutex_);

  bool open_ = false;
  Comm comm_ = nullptr;
  Stream stream_ = nullptr;
  Event event_ = nullptr;
  Staging
      staging_;  // callers use it too, with the lock, while the communicator lives and has no work
};

// ---- For callers.

absl::Status Communicator::Core::Do(State meanwhile, std::function<absl::Status()> work) {
  MutexLock lock(mutex_);
  if (!dead_.ok()) return CopyStatus(dead_);
  const State before = state_;
  state_ = meanwhile;
  work_ = std::move(work);
  done_ = false;
  changed_.NotifyAll();
  while (!done_ && dead_.ok()) changed_.Wait(mutex_);
  if (!dead_.ok()) return CopyStatus(dead_);
  state_ = meanwhile == State::kNew ? before : State::kReady;
  return CopyStatus(result_);
}

void Communicator::Core::Abort(const absl::Status& reason) {
  MutexLock lock(mutex_);
  if (!dead_.ok()) return;
  dead_ = CopyStatus(reason);
  state_ = State::kAborting;
  changed_.NotifyAll();
}

Communicator::State Communicator::Core::state() const {
  MutexLock lock(mutex_);
  return state_;
}

bool Communicator::Core::AwaitEnd() {
  const auto deadline = std::chrono::steady_clock::now() + options_.abort_limit;
  MutexLock lock(mutex_);
  while (state_ != State::kDead) {
    if (!changed_.WaitUntil(mutex_, deadline) && state_ != State::kDead) {
      state_ = State::kStuck;
      return false;
    }
  }
  return true;
}

void Communicator::Core::OnStuck() {
  if (!options_.on_stuck) return;
  options_.on_stuck(
      Internal(fmt::format("NCCL {} did not end a communicator within {} ms: this process cannot "
                           "use its device any more",
                           VersionName(libraries_->version), options_.abort_limit.count())));
}

absl::Status Communicator::Core::Reserve(size_t bytes) {
  {
    MutexLock lock(mutex_);  // the thread frees the space, once the communicator is dead
    if (!dead_.ok()) return CopyStatus(dead_);
    if (bytes <= staging_.bytes) return absl::OkStatus();
  }
  return Do(State::kBusy, [this, bytes] { return Grow(bytes); });
}

absl::Status Communicator::Core::Stage(std::span<const std::byte> send) {
  MutexLock lock(mutex_);
  if (!dead_.ok()) return CopyStatus(dead_);
  if (!send.empty()) std::memcpy(staging_.host, send.data(), send.size());
  return absl::OkStatus();
}

absl::Status Communicator::Core::Fetch(std::span<std::byte> receive) {
  MutexLock lock(mutex_);
  if (!dead_.ok()) return CopyStatus(dead_);
  if (!receive.empty()) std::memcpy(receive.data(), staging_.host + staging_.bytes, receive.size());
  return absl::OkStatus();
}

// ---- On the thread.

void Communicator::Core::Loop() {
  for (;;) {
    std::function<absl::Status()> work;
    {
      MutexLock lock(mutex_);
      while (!work_ && dead_.ok()) changed_.Wait(mutex_);
      if (!dead_.ok()) break;
      work.swap(work_);
    }
    absl::Status status = Open();
    if (status.ok()) status = work();
    MutexLock lock(mutex_);
    if (!status.ok() && dead_.ok()) {
      dead_ = CopyStatus(status);
      state_ = State::kAborting;
    }
    done_ = true;
    changed_.NotifyAll();
    if (!dead_.ok()) break;
  }
  Close();
  MutexLock lock(mutex_);
  if (state_ != State::kStuck) state_ = State::kDead;
  changed_.NotifyAll();
}

absl::Status Communicator::Core::Poll() {
  {
    MutexLock lock(mutex_);
    if (!dead_.ok()) return CopyStatus(dead_);
  }
  return watch_();
}

absl::Status Communicator::Core::Open() {
  if (open_) return absl::OkStatus();
  const CudaFunctions& cuda = libraries_->cuda;
  // The device is a property of the thread; the streams of the model stay out of the way.
  RETURN_IF_ERROR(Cuda("cudaSetDevice", cuda.set_device(options_.device)));
  RETURN_IF_ERROR(
      Cuda("cudaStreamCreateWithFlags", cuda.stream_create(&stream_, kStreamNonBlocking)));
  RETURN_IF_ERROR(
      Cuda("cudaEventCreateWithFlags", cuda.event_create(&event_, kEventDisableTiming)));
  open_ = true;
  return absl::OkStatus();
}

absl::Status Communicator::Core::Grow(size_t bytes) {
  const CudaFunctions& cuda = libraries_->cuda;
  Release();
  const size_t rounded = (bytes + 4095) / 4096 * 4096;
  void* host = nullptr;
  void* device = nullptr;
  RETURN_IF_ERROR(Cuda("cudaHostAlloc", cuda.host_alloc(&host, 2 * rounded, kHostAllocDefault)));
  staging_.host = static_cast<std::byte*>(host);
  RETURN_IF_ERROR(Cuda("cudaMalloc", cuda.malloc(&device, 2 * rounded)));
  staging_.device = static_cast<std::byte*>(device);
  staging_.bytes = rounded;
  return absl::OkStatus();
}

void Communicator::Core::Release() {
  const CudaFunctions& cuda = libraries_->cuda;
  if (staging_.device != nullptr) cuda.free(staging_.device);
  if (staging_.host != nullptr) cuda.free_host(staging_.host);
  staging_ = {};
}

/// The abort comes first: freeing memory waits for what runs on the device.
void Communicator::Core::Close() {
  const CudaFunctions& cuda = libraries_->cuda;
  if (comm_ != nullptr) libraries_->nccl.comm_abort(comm_);
  comm_ = nullptr;
  Release();
  if (event_ != nullptr) cuda.event_destroy(event_);
  if (stream_ != nullptr) cuda.stream_destroy(stream_);
}

absl::StatusOr<UniqueId> Communicator::Core::MakeId() {
  UniqueId id;
  RETURN_IF_ERROR(Nccl("ncclGetUniqueId", libraries_->nccl.get_unique_id(&id)));
  return id;
}

absl::Status Communicator::Core::Init(const UniqueId& id, int rank, int size) {
  Config config;
  const Result result = libraries_->nccl.comm_init_rank_config(&comm_, size, id, rank, &config);
  if (result != kInProgress) RETURN_IF_ERROR(Nccl("ncclCommInitRankConfig", result));
  return AwaitComm("ncclCommInitRankConfig");
}

/// Until NCCL has taken what was called: it may need the peers for that.
absl::Status Communicator::Core::AwaitComm(const char* call) {
  Backoff backoff;
  for (;;) {
    RETURN_IF_ERROR(Poll());
    Result error = kSuccess;
    RETURN_IF_ERROR(
        Nccl("ncclCommGetAsyncError", libraries_->nccl.comm_get_async_error(comm_, &error)));
    if (error != kInProgress) return Nccl(call, error);
    backoff.Wait();
  }
}

Result Communicator::Core::Launch(Operation::Kind kind, int root, size_t bytes) {
  const NcclFunctions& nccl = libraries_->nccl;
  const std::byte* send = staging_.device;
  std::byte* receive = staging_.device + staging_.bytes;
  switch (kind) {
    case Operation::Kind::kAllGather:
      return nccl.all_gather(send, receive, bytes, kUint8, comm_, stream_);
    case Operation::Kind::kAllReduceSum:
      return nccl.all_reduce(send, receive, bytes / sizeof(float), kFloat32, kSum, comm_, stream_);
    case Operation::Kind::kBroadcast:
      return nccl.broadcast(send, receive, bytes, kUint8, root, comm_, stream_);
  }
  return kInvalidUsage;
}

absl::Status Communicator::Core::Run(Operation::Kind kind, int root, size_t send, size_t receive) {
  if (comm_ == nullptr) return Internal("an operation before Init");
  const CudaFunctions& cuda = libraries_->cuda;
  RETURN_IF_ERROR(Cuda("cudaMemcpyAsync", cuda.memcpy_async(staging_.device, staging_.host, send,
                                                            kHostToDevice, stream_)));
  const Result launched = Launch(kind, root, send);
  if (launched == kInProgress) {
    RETURN_IF_ERROR(AwaitComm("the operation"));
  } else {
    RETURN_IF_ERROR(Nccl("the operation", launched));
  }
  RETURN_IF_ERROR(Cuda("cudaMemcpyAsync", cuda.memcpy_async(staging_.host + staging_.bytes,
                                                            staging_.device + staging_.bytes,
                                                            receive, kDeviceToHost, stream_)));
  RETURN_IF_ERROR(Cuda("cudaEventRecord", cuda.event_record(event_, stream_)));
  // An event is polled and nothing is synchronised with: a lost peer never ends the stream.
  Backoff backoff;
  for (;;) {
    const CudaError query = cuda.event_query(event_);
    if (query != kCudaSuccess && query != kCudaNotReady) return Cuda("the operation", query);
    RETURN_IF_ERROR(Poll());
    // Asked after the event: an operation that failed may end its kernels all the same.
    Result error = kSuccess;
    RETURN_IF_ERROR(
        Nccl("ncclCommGetAsyncError", libraries_->nccl.comm_get_async_error(comm_, &error)));
    if (error != kInProgress) RETURN_IF_ERROR(Nccl("the operation", error));
    if (query == kCudaSuccess) return absl::OkStatus();
    backoff.Wait();
  }
}

absl::Status Communicator::Core::Nccl(const char* call, Result result) const {
  if (result == kSuccess) return absl::OkStatus();
  const NcclFunctions& nccl = libraries_->nccl;
  const char* last = comm_ == nullptr ? nullptr : nccl.get_last_error(comm_);
  const std::string message =
      fmt::format("NCCL {}: {}: {}{}{} (NCCL_DEBUG=INFO says more)",
                  VersionName(libraries_->version), call, nccl.get_error_string(result),
                  last == nullptr || *last == '\0' ? "" : ": ", last == nullptr ? "" : last);
  // A peer that is gone shows as either, by how it was reached.
  const bool perhaps_a_peer = result == kRemoteError || result == kSystemError;
  return perhaps_a_peer ? Unavailable(message) : absl::UnknownError(message);
}

absl::Status Communicator::Core::Cuda(const char* call, CudaError error) const {
  if (error == kCudaSuccess) return absl::OkStatus();
  return absl::UnknownError(fmt::format("CUDA device {}: {}: {}", options_.device, call,
                                        libraries_->cuda.get_error_string(error)));
}

// ---- The handle.

Communicator::Communicator(std::shared_ptr<const Libraries> libraries, Options options,
                           std::function<absl::Status()> watch)
    : core_(std::make_shared<Core>(std::move(libraries), std::move(options), std::move(watch))),
      thread_([core = core_] { core->Loop(); }) {}

Communicator::~Communicator() {
  Abort(Aborted("the communicator is no longer needed"));
  if (core_->AwaitEnd()) {
    thread_.join();
    return;
  }
  thread_.detach();
  core_->OnStuck();
}

absl::StatusOr<UniqueId> Communicator::MakeId() {
  // The caller may be gone when the thread comes back: what it writes to is shared with it.
  auto made = std::make_shared<UniqueId>();
  Core* const core = core_.get();
  RETURN_IF_ERROR(core->Do(State::kNew, [core, made]() -> absl::Status {
    ASSIGN_OR_RETURN(*made, core->MakeId());
    return absl::OkStatus();
  }));
  return *made;
}

absl::Status Communicator::Init(const UniqueId& id, int rank, int size) {
  Core* const core = core_.get();
  return core->Do(State::kInitialising,
                  [core, id, rank, size] { return core->Init(id, rank, size); });
}

absl::Status Communicator::Run(const Operation& operation) {
  Core* const core = core_.get();
  const size_t send = operation.send.size();
  const size_t receive = operation.receive.size();
  RETURN_IF_ERROR(core->Reserve(std::max(send, receive)));
  RETURN_IF_ERROR(core->Stage(operation.send));
  RETURN_IF_ERROR(
      core->Do(State::kBusy, [core, kind = operation.kind, root = operation.root, send, receive] {
        return core->Run(kind, root, send, receive);
      }));
  return core->Fetch(operation.receive);
}

void Communicator::Abort(const absl::Status& reason) { core_->Abort(reason); }

Communicator::State Communicator::state() const { return core_->state(); }

}  // namespace neolog::collective::nccl
