// A libnccl and a CUDA runtime in one library, on host memory, for tests: the calls that
// worker/collective/nccl makes, with NCCL's manners. Calls return before they are done; ranks meet
// through a file, so that they may be threads or processes; a rank that is gone is not noticed by
// the others, who wait; nothing is compared. It is stricter than NCCL in one thing: a communicator
// that is used by two threads ends the process. Faults are scripted (fake_nccl.h).
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "worker/collective/nccl/abi.h"

namespace {

using namespace neolog::collective::nccl;

constexpr int kMaxRanks = 16;
constexpr size_t kSlotBytes = size_t{8} << 20;  // the file is sparse
constexpr auto kLook = std::chrono::microseconds(20);
constexpr auto kCudaErrorLaunchFailure = static_cast<CudaError>(719);

// ---- The script.

class Script {
 public:
  static Script& Get() {
    static Script script;
    return script;
  }
  void Set(const char* text) {
    std::lock_guard lock(mutex_);
    faults_.clear();
    std::istringstream words(text == nullptr ? "" : text);
    for (std::string word; words >> word;) faults_.push_back(word);
  }
  bool Has(const char* what, int rank) {
    return Find(std::string(what) + "@" + std::to_string(rank));
  }
  bool Has(const char* what, int rank, uint64_t operation) {
    return Find(std::string(what) + "@" + std::to_string(rank) + "#" + std::to_string(operation));
  }
  int Version() {
    std::lock_guard lock(mutex_);
    for (const std::string& fault : faults_) {
      if (fault.starts_with("version=")) return std::stoi(fault.substr(8));
    }
    return 22809;
  }

 private:
  Script() { Set(std::getenv("NEOLOG_FAKE_NCCL_SCRIPT")); }
  bool Find(const std::string& fault) {
    std::lock_guard lock(mutex_);
    for (const std::string& known : faults_) {
      if (known == fault) return true;
    }
    return false;
  }
  std::mutex mutex_;
  std::vector<std::string> faults_;
};

std::atomic<int> live{0};

// Never destroyed: an abort that hangs may still wait when the process ends.
struct Gate {
  std::mutex mutex;
  std::condition_variable opened;
  uint64_t releases = 0;
};
Gate& HangingAborts() {
  static Gate* const gate = new Gate;
  return *gate;
}

}  // namespace

// ---- Streams and events: a queue and a thread.

struct CUstream_st {
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::function<void()>> queue;
  bool busy = false;
  bool ending = false;
  std::atomic<bool> failed{false};
  std::thread thread;

  void Add(std::function<void()> work) {
    std::lock_guard lock(mutex);
    queue.push_back(std::move(work));
    changed.notify_all();
  }
  void Loop() {
    for (;;) {
      std::function<void()> work;
      {
        std::unique_lock lock(mutex);
        changed.wait(lock, [this] { return ending || !queue.empty(); });
        if (queue.empty()) return;
        work = std::move(queue.front());
        queue.pop_front();
        busy = true;
      }
      work();
      std::lock_guard lock(mutex);
      busy = false;
      changed.notify_all();
    }
  }
  void AwaitIdle() {
    std::unique_lock lock(mutex);
    changed.wait(lock, [this] { return queue.empty() && !busy; });
  }
};

namespace {

/// The streams of this thread, which stands for a device: every rank has its own.
thread_local std::vector<CUstream_st*> device_streams;

// Not the exported functions, which in a process with libtorch are the real ones to a caller here.
CudaError Allocate(void** pointer, size_t bytes) {
  *pointer = std::calloc(1, bytes);
  ++live;
  return kCudaSuccess;
}

/// As the real ones do, freeing memory waits for what the device still does with it.
CudaError Free(void* pointer) {
  for (CUstream_st* stream : device_streams) stream->AwaitIdle();
  std::free(pointer);
  --live;
  return kCudaSuccess;
}

}  // namespace

struct CUevent_st {
  // Shared with the stream's queue: an event may be destroyed before it is reached.
  std::shared_ptr<std::atomic<bool>> reached = std::make_shared<std::atomic<bool>>(true);
  CUstream_st* stream = nullptr;
};

// ---- Communicators: ranks meet in a file.

namespace {

struct Slot {
  std::atomic<uint64_t> given;  // operations whose bytes lie in this rank's part of the file
  std::atomic<uint64_t> taken;  // operations that this rank has read everybody's bytes of
  std::atomic<bool> here;
};

struct Meeting {
  std::atomic<int> left;
  Slot slots[kMaxRanks];
};

constexpr size_t kHeaderBytes = 4096;
static_assert(sizeof(Meeting) <= kHeaderBytes);
static_assert(std::atomic<uint64_t>::is_always_lock_free && std::atomic<bool>::is_always_lock_free);

}  // namespace

struct ncclComm {
  int rank = 0;
  int ranks = 0;
  std::string path;
  size_t bytes = 0;
  Meeting* meeting = nullptr;
  std::thread::id owner;
  std::thread joining;
  std::atomic<int> error{kInProgress};
  std::atomic<bool> aborted{false};
  std::atomic<int> queued{0};  // operations on the stream that still use this
  uint64_t operations = 0;     // the owner's count

  std::byte* part(int r) const {
    return reinterpret_cast<std::byte*>(meeting) + kHeaderBytes + kSlotBytes * r;
  }

  void CheckOwner(const char* call) const {
    if (std::this_thread::get_id() == owner) return;
    std::fprintf(stderr, "fake NCCL: %s from a second thread on rank %d\n", call, rank);
    std::abort();
  }

  /// Until `condition` or an abort. False when aborted.
  template <typename Condition>
  bool Await(const Condition& condition) const {
    while (!condition()) {
      if (aborted) return false;
      std::this_thread::sleep_for(kLook);
    }
    return true;
  }
  bool AwaitAll(const std::function<bool(const Slot&)>& condition) const {
    return Await([&] {
      for (int r = 0; r < ranks; ++r) {
        if (!condition(meeting->slots[r])) return false;
      }
      return true;
    });
  }
};

namespace {

/// One operation, on the stream's thread. `combine(part, rank)` gets every rank's bytes in rank
/// order.
void Exchange(ncclComm* comm, CUstream_st* stream, uint64_t operation, const void* send,
              size_t bytes, const std::function<void(const std::byte*, int)>& combine) {
  Script& script = Script::Get();
  if (script.Has("die", comm->rank, operation)) raise(SIGKILL);
  if (script.Has("system_error", comm->rank, operation)) comm->error = kSystemError;
  if (script.Has("remote_error", comm->rank, operation)) comm->error = kRemoteError;
  if (script.Has("cuda_error", comm->rank, operation)) stream->failed = true;
  if (script.Has("never_ends", comm->rank, operation)) {
    comm->Await([] { return false; });
    return;
  }
  Slot& mine = comm->meeting->slots[comm->rank];
  // Everyone has read what this rank gave before.
  if (!comm->AwaitAll([&](const Slot& slot) { return slot.taken >= operation; })) return;
  std::memcpy(comm->part(comm->rank), send, bytes);
  mine.given = operation + 1;
  for (int r = 0; r < comm->ranks; ++r) {
    const Slot& theirs = comm->meeting->slots[r];
    if (!comm->Await([&] { return theirs.given > operation; })) return;
    combine(comm->part(r), r);
  }
  mine.taken = operation + 1;
}

Result Enqueue(ncclComm* comm, CUstream_st* stream, const void* send, size_t bytes,
               std::function<void(const std::byte*, int)> combine) {
  comm->CheckOwner("an operation");
  if (comm->error != kSuccess) return kInvalidUsage;  // not yet initialised, or failed
  if (bytes == 0 || bytes > kSlotBytes) return kInvalidArgument;
  const uint64_t operation = comm->operations++;
  if (Script::Get().Has("launch_error", comm->rank, operation)) return kInternalError;
  ++comm->queued;
  stream->Add([=] {
    Exchange(comm, stream, operation, send, bytes, combine);
    --comm->queued;
  });
  return kSuccess;
}

Result Meet(ncclComm* comm) {
  const int file = open(comm->path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return kSystemError;
  comm->bytes = kHeaderBytes + kSlotBytes * comm->ranks;
  void* memory = ftruncate(file, static_cast<off_t>(comm->bytes)) == 0
                     ? mmap(nullptr, comm->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)
                     : MAP_FAILED;
  close(file);
  if (memory == MAP_FAILED) return kSystemError;
  comm->meeting = static_cast<Meeting*>(memory);  // zeroes are every atomic's beginning
  return kSuccess;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

void neologFakeNcclScript(const char* script) { Script::Get().Set(script); }

void neologFakeNcclRelease() {
  Gate& gate = HangingAborts();
  std::lock_guard lock(gate.mutex);
  ++gate.releases;
  gate.opened.notify_all();
}

int neologFakeNcclLive() { return live; }

Result ncclGetVersion(int* version) {
  *version = Script::Get().Version();
  return kSuccess;
}

Result ncclGetUniqueId(UniqueId* id) {
  const char* folder = std::getenv("TMPDIR");
  std::string path = std::string(folder == nullptr ? "/tmp" : folder) + "/fake-nccl-XXXXXX";
  if (path.size() >= sizeof(id->bytes)) return kSystemError;
  const int file = mkstemp(path.data());
  if (file < 0) return kSystemError;
  close(file);
  std::memset(id->bytes, 0, sizeof(id->bytes));
  std::memcpy(id->bytes, path.data(), path.size());
  return kSuccess;
}

Result ncclCommInitRankConfig(ncclComm** made, int ranks, UniqueId id, int rank, Config* config) {
  if (config->magic != 0xcafebeef || config->version < 21400) return kInvalidArgument;
  if (config->blocking != 0) return kInvalidUsage;  // a lost peer would hang the caller
  if (ranks > kMaxRanks || rank < 0 || rank >= ranks) return kInvalidArgument;
  auto* comm = new ncclComm;
  ++live;
  comm->rank = rank;
  comm->ranks = ranks;
  comm->path = id.bytes;
  comm->owner = std::this_thread::get_id();
  *made = comm;
  comm->joining = std::thread([comm] {
    Script& script = Script::Get();
    if (script.Has("init_hang", comm->rank)) {
      comm->Await([] { return false; });
      return;
    }
    const Result met = script.Has("init_error", comm->rank) ? kSystemError : Meet(comm);
    if (met != kSuccess) {
      comm->error = met;
      return;
    }
    comm->meeting->slots[comm->rank].here = true;
    if (comm->AwaitAll([](const Slot& slot) { return slot.here.load(); })) comm->error = kSuccess;
  });
  return kInProgress;
}

Result ncclCommGetAsyncError(ncclComm* comm, Result* error) {
  comm->CheckOwner("ncclCommGetAsyncError");
  *error = static_cast<Result>(comm->error.load());
  return kSuccess;
}

Result ncclCommAbort(ncclComm* comm) {
  comm->CheckOwner("ncclCommAbort");
  if (Script::Get().Has("abort_hang", comm->rank)) {
    Gate& gate = HangingAborts();
    std::unique_lock lock(gate.mutex);
    gate.opened.wait(lock, [&, before = gate.releases] { return gate.releases != before; });
  }
  comm->aborted = true;
  comm->joining.join();
  while (comm->queued != 0) std::this_thread::sleep_for(kLook);
  if (comm->meeting != nullptr) {
    // What a rank that is gone leaves behind is removed with the folder of the test.
    if (comm->meeting->left.fetch_add(1) + 1 == comm->ranks) unlink(comm->path.c_str());
    munmap(comm->meeting, comm->bytes);
  }
  delete comm;
  --live;
  return kSuccess;
}

Result ncclAllGather(const void* send, void* receive, size_t count, DataType type, ncclComm* comm,
                     CUstream_st* stream) {
  const size_t bytes = count * (type == kFloat32 ? 4 : 1);
  return Enqueue(comm, stream, send, bytes, [=](const std::byte* part, int rank) {
    std::memcpy(static_cast<std::byte*>(receive) + bytes * rank, part, bytes);
  });
}

Result ncclAllReduce(const void* send, void* receive, size_t count, DataType type, ReduceOp,
                     ncclComm* comm, CUstream_st* stream) {
  if (type != kFloat32) return kInvalidArgument;
  return Enqueue(comm, stream, send, count * 4, [=](const std::byte* part, int rank) {
    for (size_t i = 0; i < count; ++i) {
      float addend = 0;
      std::memcpy(&addend, part + i * 4, 4);
      float& sum = static_cast<float*>(receive)[i];
      sum = rank == 0 ? addend : sum + addend;
    }
  });
}

Result ncclBroadcast(const void* send, void* receive, size_t count, DataType type, int root,
                     ncclComm* comm, CUstream_st* stream) {
  const size_t bytes = count * (type == kFloat32 ? 4 : 1);
  return Enqueue(comm, stream, send, bytes, [=](const std::byte* part, int rank) {
    if (rank == root) std::memcpy(receive, part, bytes);
  });
}

const char* ncclGetErrorString(Result result) {
  switch (result) {
    case kSystemError: return "unhandled system error";
    case kInternalError: return "internal error";
    case kRemoteError: return "remote process exited or there was a network error";
    default: return "another error";
  }
}

const char* ncclGetLastError(ncclComm* comm) {
  comm->CheckOwner("ncclGetLastError");
  return "as scripted";
}

CudaError cudaSetDevice(int device) {
  return device < 64 ? kCudaSuccess : static_cast<CudaError>(101);
}

CudaError cudaStreamCreateWithFlags(CUstream_st** made, unsigned) {
  auto* stream = new CUstream_st;
  ++live;
  stream->thread = std::thread([stream] { stream->Loop(); });
  device_streams.push_back(stream);
  *made = stream;
  return kCudaSuccess;
}

CudaError cudaStreamDestroy(CUstream_st* stream) {
  std::erase(device_streams, stream);
  {
    std::lock_guard lock(stream->mutex);
    stream->ending = true;
    stream->changed.notify_all();
  }
  stream->thread.join();
  delete stream;
  --live;
  return kCudaSuccess;
}

CudaError cudaEventCreateWithFlags(CUevent_st** made, unsigned) {
  *made = new CUevent_st;
  ++live;
  return kCudaSuccess;
}

CudaError cudaEventRecord(CUevent_st* event, CUstream_st* stream) {
  event->reached = std::make_shared<std::atomic<bool>>(false);
  event->stream = stream;
  stream->Add([reached = event->reached] { *reached = true; });
  return kCudaSuccess;
}

CudaError cudaEventQuery(CUevent_st* event) {
  if (event->stream != nullptr && event->stream->failed) return kCudaErrorLaunchFailure;
  return *event->reached ? kCudaSuccess : kCudaNotReady;
}

CudaError cudaEventDestroy(CUevent_st* event) {
  delete event;
  --live;
  return kCudaSuccess;
}

CudaError cudaMalloc(void** pointer, size_t bytes) { return Allocate(pointer, bytes); }

CudaError cudaFree(void* pointer) { return Free(pointer); }

CudaError cudaHostAlloc(void** pointer, size_t bytes, unsigned) { return Allocate(pointer, bytes); }

CudaError cudaFreeHost(void* pointer) { return Free(pointer); }

CudaError cudaMemcpyAsync(void* to, const void* from, size_t bytes, CopyKind, CUstream_st* stream) {
  stream->Add([=] { std::memcpy(to, from, bytes); });
  return kCudaSuccess;
}

const char* cudaGetErrorString(CudaError error) {
  return error == kCudaErrorLaunchFailure ? "unspecified launch failure" : "invalid device ordinal";
}

}  // extern "C"
#pragma GCC visibility pop
