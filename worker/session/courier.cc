#include "worker/session/courier.h"

#include <utility>

#include "common/base/log.h"

namespace neolog::session {
namespace {

constexpr auto kRetry = std::chrono::seconds(1);
/// Reports that may have been on their way when a stream broke.
constexpr size_t kRepeated = 64;

}  // namespace

Courier::Courier(Uplink* uplink, BlobStore* blobs, size_t max_bytes)
    : uplink_(uplink), blobs_(blobs), max_bytes_(max_bytes), thread_([this] { Loop(); }) {}

Courier::~Courier() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  thread_.join();
}

void Courier::Add(v1::ArtifactReport report, std::string bytes) {
  size_t dropped = 0;
  {
    MutexLock lock(mutex_);
    bytes_ += bytes.size();
    queue_.push_back({std::move(report), std::move(bytes)});
    for (; bytes_ > max_bytes_ && queue_.size() > 1; ++dropped) {
      bytes_ -= queue_.front().bytes.size();
      queue_.pop_front();
    }
    changed_.NotifyAll();
  }
  if (dropped > 0) {
    spdlog::warn(
        "the coordinator has been away too long: {} preview(s) that could not be sent are given up",
        dropped);
  }
}

void Courier::OnConnected() {
  MutexLock lock(mutex_);
  ++connections_;
  for (auto it = sent_.rbegin(); it != sent_.rend(); ++it) queue_.push_front({*it, ""});
  sent_.clear();
  changed_.NotifyAll();
}

bool Courier::Drain(std::chrono::steady_clock::time_point deadline) {
  MutexLock lock(mutex_);
  while (busy_ || !queue_.empty()) {
    if (!changed_.WaitUntil(mutex_, deadline)) return false;
  }
  return true;
}

bool Courier::Deliver(Item& item) {
  if (!item.bytes.empty() && item.report.blob_digest().empty()) {
    absl::StatusOr<std::string> digest = blobs_->Put(item.bytes);
    if (!digest.ok()) return false;
    item.report.set_blob_digest(*digest);
  }
  v1::WorkerMessage message;
  *message.mutable_artifact() = item.report;
  return uplink_->Send(std::move(message));
}

void Courier::Loop() {
  for (;;) {
    Item item;
    uint64_t connections = 0;
    {
      MutexLock lock(mutex_);
      busy_ = false;
      changed_.NotifyAll();
      while (!stopping_ && queue_.empty()) changed_.Wait(mutex_);
      if (stopping_) return;
      item = std::move(queue_.front());
      queue_.pop_front();
      bytes_ -= item.bytes.size();
      busy_ = true;
      connections = connections_;
    }
    const bool delivered = Deliver(item);
    MutexLock lock(mutex_);
    if (delivered) {
      sent_.push_back(std::move(item.report));
      if (sent_.size() > kRepeated) sent_.pop_front();
      continue;
    }
    bytes_ += item.bytes.size();
    queue_.push_front(std::move(item));
    const auto again = std::chrono::steady_clock::now() + kRetry;
    while (!stopping_ && connections_ == connections && changed_.WaitUntil(mutex_, again)) {
    }
  }
}

}  // namespace neolog::session
