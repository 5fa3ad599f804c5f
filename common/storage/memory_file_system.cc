#include "common/storage/memory_file_system.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "fmt/format.h"

namespace neolog {
namespace {

std::string Normal(std::string_view path) {
  std::string normal = std::filesystem::path(path).lexically_normal().string();
  while (normal.size() > 1 && normal.back() == '/') normal.pop_back();
  return normal;
}

absl::Status Missing(std::string_view path) {
  return NotFound(fmt::format("'{}': no such file or directory", path));
}

absl::Status IsDirectory(std::string_view path) {
  return FailedPrecondition(fmt::format("'{}' is a directory", path));
}

}  // namespace

struct MemoryFileSystem::Node {
  std::string bytes;
  size_t synced = 0;  // how many of them a power loss keeps
};

class MemoryFileSystem::File : public WritableFile {
 public:
  File(MemoryFileSystem* fs, std::string path, std::shared_ptr<Node> node, uint64_t generation)
      : fs_(fs), path_(std::move(path)), node_(std::move(node)), generation_(generation) {}

  absl::Status Append(std::string_view bytes) override {
    MutexLock lock(fs_->mutex_);
    RETURN_IF_ERROR(Usable());
    if (absl::Status failed = fs_->Count(); !failed.ok()) {
      node_->bytes.append(bytes.substr(0, bytes.size() / 2));
      return Annotate(failed, fmt::format("cannot write to '{}'", path_));
    }
    const uint64_t used = fs_->TotalBytes();
    const uint64_t room = fs_->capacity_ > used ? fs_->capacity_ - used : 0;
    if (bytes.size() > room) {
      node_->bytes.append(bytes.substr(0, room));
      return absl::ResourceExhaustedError(
          fmt::format("cannot write to '{}': the disk is full", path_));
    }
    node_->bytes.append(bytes);
    return absl::OkStatus();
  }

  absl::Status Sync() override {
    MutexLock lock(fs_->mutex_);
    RETURN_IF_ERROR(Usable());
    RETURN_IF_ERROR_WITH(fs_->Count(), fmt::format("cannot sync '{}'", path_));
    node_->synced = node_->bytes.size();
    return absl::OkStatus();
  }

  absl::Status Close() override {
    MutexLock lock(fs_->mutex_);
    RETURN_IF_ERROR(Usable());
    closed_ = true;
    RETURN_IF_ERROR_WITH(fs_->Count(), fmt::format("cannot close '{}'", path_));
    return absl::OkStatus();
  }

 private:
  absl::Status Usable() const REQUIRES(fs_->mutex_) {
    if (closed_) return FailedPrecondition(fmt::format("'{}' is closed already", path_));
    if (generation_ != fs_->generation_)
      return Internal(fmt::format("'{}' was lost with the power", path_));
    return absl::OkStatus();
  }

  MemoryFileSystem* const fs_;
  const std::string path_;
  const std::shared_ptr<Node> node_;
  const uint64_t generation_;
  bool closed_ = false;
};

MemoryFileSystem::MemoryFileSystem() : directories_{"/", "."} {}
MemoryFileSystem::~MemoryFileSystem() = default;

absl::Status MemoryFileSystem::Count() {
  ++operations_;
  if (fail_at_ == 0 || operations_ < fail_at_) return absl::OkStatus();
  if (operations_ == fail_at_ || fail_later_) return failure_;
  return absl::OkStatus();
}

uint64_t MemoryFileSystem::TotalBytes() const {
  uint64_t total = 0;
  for (const auto& [name, node] : names_) total += node->bytes.size();
  return total;
}

absl::StatusOr<std::string> MemoryFileSystem::CheckParent(std::string_view path) const {
  std::string normal = Normal(path);
  if (directories_.count(normal) > 0) return IsDirectory(path);
  const std::string parent = DirectoryOf(normal);
  if (names_.count(parent) > 0)
    return FailedPrecondition(fmt::format("'{}' is not a directory", parent));
  if (directories_.count(parent) == 0) return Missing(path);
  return normal;
}

absl::StatusOr<std::string> MemoryFileSystem::Read(std::string_view path, uint64_t max_bytes) {
  MutexLock lock(mutex_);
  const std::string normal = Normal(path);
  if (directories_.count(normal) > 0) return IsDirectory(path);
  const auto found = names_.find(normal);
  if (found == names_.end()) return Missing(path);
  if (found->second->bytes.size() > max_bytes) {
    return InvalidArgument(fmt::format("'{}' has {} bytes, more than the {} allowed here", path,
                                       found->second->bytes.size(), max_bytes));
  }
  return found->second->bytes;
}

absl::StatusOr<std::unique_ptr<WritableFile>> MemoryFileSystem::Create(std::string_view path) {
  MutexLock lock(mutex_);
  const std::string normal = Normal(path);
  if (directories_.count(normal) > 0 || names_.count(normal) > 0) {
    return AlreadyExists(fmt::format("cannot create '{}': it exists", path));
  }
  ASSIGN_OR_RETURN(const std::string checked, CheckParent(path));
  RETURN_IF_ERROR_WITH(Count(), fmt::format("cannot create '{}'", path));
  auto node = std::make_shared<Node>();
  names_[checked] = node;
  return std::make_unique<File>(this, checked, std::move(node), generation_);
}

absl::StatusOr<std::unique_ptr<WritableFile>> MemoryFileSystem::OpenForAppend(
    std::string_view path) {
  MutexLock lock(mutex_);
  ASSIGN_OR_RETURN(const std::string normal, CheckParent(path));
  RETURN_IF_ERROR_WITH(Count(), fmt::format("cannot open '{}'", path));
  std::shared_ptr<Node>& node = names_[normal];
  if (node == nullptr) node = std::make_shared<Node>();
  return std::make_unique<File>(this, normal, node, generation_);
}

absl::Status MemoryFileSystem::Rename(std::string_view from, std::string_view to) {
  MutexLock lock(mutex_);
  const auto found = names_.find(Normal(from));
  if (found == names_.end()) return Missing(from);
  ASSIGN_OR_RETURN(const std::string target, CheckParent(to));
  RETURN_IF_ERROR_WITH(Count(), fmt::format("cannot rename '{}' to '{}'", from, to));
  std::shared_ptr<Node> node = found->second;
  names_.erase(found);
  names_[target] = std::move(node);
  return absl::OkStatus();
}

absl::Status MemoryFileSystem::Remove(std::string_view path) {
  MutexLock lock(mutex_);
  const std::string normal = Normal(path);
  if (directories_.count(normal) > 0) return IsDirectory(path);
  if (names_.count(normal) == 0) return Missing(path);
  RETURN_IF_ERROR_WITH(Count(), fmt::format("cannot remove '{}'", path));
  names_.erase(normal);
  return absl::OkStatus();
}

absl::Status MemoryFileSystem::CreateDirectories(std::string_view path) {
  MutexLock lock(mutex_);
  std::vector<std::string> missing;
  for (std::string dir = Normal(path); directories_.count(dir) == 0; dir = DirectoryOf(dir)) {
    if (names_.count(dir) > 0)
      return FailedPrecondition(fmt::format("'{}' is not a directory", dir));
    missing.push_back(dir);
  }
  if (missing.empty()) return absl::OkStatus();
  RETURN_IF_ERROR_WITH(Count(), fmt::format("cannot create directory '{}'", path));
  directories_.insert(missing.begin(), missing.end());
  return absl::OkStatus();
}

absl::Status MemoryFileSystem::SyncDirectory(std::string_view path) {
  MutexLock lock(mutex_);
  const std::string dir = Normal(path);
  if (directories_.count(dir) == 0) return Missing(path);
  RETURN_IF_ERROR_WITH(Count(), fmt::format("cannot sync directory '{}'", path));
  const auto in_dir = [&](const auto& entry) { return DirectoryOf(entry.first) == dir; };
  std::erase_if(durable_names_, in_dir);
  std::copy_if(names_.begin(), names_.end(), std::inserter(durable_names_, durable_names_.end()),
               in_dir);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> MemoryFileSystem::List(std::string_view path) {
  MutexLock lock(mutex_);
  const std::string dir = Normal(path);
  if (names_.count(dir) > 0)
    return FailedPrecondition(fmt::format("'{}' is not a directory", path));
  if (directories_.count(dir) == 0) return Missing(path);
  std::vector<std::string> names;
  const auto add = [&](const std::string& full) {
    if (full != dir && full != "." && full != "/" && DirectoryOf(full) == dir) {
      names.push_back(full.substr(full.rfind('/') + 1));
    }
  };
  for (const auto& [name, node] : names_) add(name);
  for (const std::string& name : directories_) add(name);
  std::sort(names.begin(), names.end());
  return names;
}

absl::StatusOr<FileInfo> MemoryFileSystem::Stat(std::string_view path) {
  MutexLock lock(mutex_);
  const std::string normal = Normal(path);
  if (directories_.count(normal) > 0) return FileInfo{.is_directory = true};
  const auto found = names_.find(normal);
  if (found == names_.end()) return Missing(path);
  return FileInfo{.size = found->second->bytes.size()};
}

void MemoryFileSystem::FailOperation(int n, absl::Status status, bool and_all_later) {
  MutexLock lock(mutex_);
  fail_at_ = operations_ + n;
  fail_later_ = and_all_later;
  failure_ = std::move(status);
}

void MemoryFileSystem::ClearFaults() {
  MutexLock lock(mutex_);
  fail_at_ = 0;
  fail_later_ = false;
  capacity_ = kNoLimit;
}

void MemoryFileSystem::SetCapacity(uint64_t bytes) {
  MutexLock lock(mutex_);
  capacity_ = bytes;
}

int MemoryFileSystem::operations() const {
  MutexLock lock(mutex_);
  return operations_;
}

void MemoryFileSystem::PowerLoss(Crash crash) {
  MutexLock lock(mutex_);
  ++generation_;
  if (crash == Crash::kDropUnsynced) names_ = durable_names_;
  for (auto& [name, node] : names_) {
    size_t kept = node->synced;
    if (crash == Crash::kKeepNamesTearBytes) kept += (node->bytes.size() - node->synced) / 2;
    node->bytes.resize(kept);
    node->synced = kept;
  }
  durable_names_ = names_;
}

absl::Status MemoryFileSystem::Corrupt(std::string_view path, std::string_view bytes) {
  MutexLock lock(mutex_);
  const auto found = names_.find(Normal(path));
  if (found == names_.end()) return Missing(path);
  found->second->bytes = std::string(bytes);
  found->second->synced = bytes.size();
  return absl::OkStatus();
}

}  // namespace neolog
