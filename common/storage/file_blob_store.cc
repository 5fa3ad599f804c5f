#include "common/storage/file_blob_store.h"

#include "common/base/hash.h"
#include "common/storage/durable_write.h"
#include "common/storage/memory_blob_store.h"
#include "fmt/format.h"

namespace neolog {

absl::StatusOr<std::unique_ptr<FileBlobStore>> FileBlobStore::Create(FileSystem* fs,
                                                                     std::string_view directory) {
  RETURN_IF_ERROR_WITH(fs->CreateDirectories(directory), "opening the blob store");
  ASSIGN_OR_RETURN_WITH(const std::vector<std::string> names, fs->List(directory),
                        "opening the blob store");
  for (const std::string& name : names) {
    const std::string folder = JoinPath(directory, name);
    ASSIGN_OR_RETURN(const FileInfo info, fs->Stat(folder));
    if (info.is_directory) RETURN_IF_ERROR(SweepTemporaries(*fs, folder));
  }
  return std::unique_ptr<FileBlobStore>(new FileBlobStore(fs, directory));
}

std::string FileBlobStore::PathOf(std::string_view digest) const {
  return fmt::format("{}/{}", JoinPath(directory_, digest.substr(0, 2)), digest);
}

absl::StatusOr<std::string> FileBlobStore::Put(std::string_view bytes) {
  std::string digest = Sha256Hex(bytes);
  const std::string path = PathOf(digest);
  if (const auto stored = fs_->Read(path, bytes.size()); stored.ok() && *stored == bytes)
    return digest;
  RETURN_IF_ERROR(fs_->CreateDirectories(DirectoryOf(path)));
  RETURN_IF_ERROR(WriteFileDurably(*fs_, path, bytes));
  return digest;
}

absl::StatusOr<std::string> FileBlobStore::Get(std::string_view digest) {
  if (!IsDigest(digest)) return InvalidArgument(fmt::format("'{}' is not a blob's digest", digest));
  const std::string path = PathOf(digest);
  absl::StatusOr<std::string> bytes = fs_->Read(path);
  if (absl::IsNotFound(bytes.status()))
    return NotFound(fmt::format("blob {} is not stored", digest));
  RETURN_IF_ERROR(bytes);
  if (Sha256Hex(*bytes) != digest) {
    return DataLoss(fmt::format(
        "'{}': its {} bytes no longer fit the digest it is named after; remove it and store the "
        "original again",
        path, bytes->size()));
  }
  return bytes;
}

absl::StatusOr<std::vector<bool>> FileBlobStore::Has(const std::vector<std::string>& digests) {
  std::vector<bool> has;
  has.reserve(digests.size());
  for (const std::string& digest : digests) {
    if (!IsDigest(digest))
      return InvalidArgument(fmt::format("'{}' is not a blob's digest", digest));
    const auto info = fs_->Stat(PathOf(digest));
    if (!info.ok() && !absl::IsNotFound(info.status())) return info.status();
    has.push_back(info.ok() && !info->is_directory);
  }
  return has;
}

}  // namespace neolog
