#include "common/storage/durable_write.h"

#include <algorithm>
#include <memory>

#include "common/base/hash.h"
#include "fmt/format.h"

namespace neolog {
namespace {

constexpr std::string_view kMark = ".tmp-";
constexpr size_t kDigits = 16;

absl::Status WriteAndSync(FileSystem& fs, const std::string& path, std::string_view bytes) {
  ASSIGN_OR_RETURN(const std::unique_ptr<WritableFile> file, fs.Create(path));  // 1
  RETURN_IF_ERROR(file->Append(bytes));                                         // 2
  RETURN_IF_ERROR(file->Sync());                                                // 3
  return file->Close();                                                         // 4
}

}  // namespace

absl::Status WriteFileDurably(FileSystem& fs, std::string_view path, std::string_view bytes) {
  const std::string temporary = fmt::format("{}{}{:016x}", path, kMark, RandomBits64());
  absl::Status status = WriteAndSync(fs, temporary, bytes);
  if (status.ok()) status = fs.Rename(temporary, path);  // 5
  if (!status.ok()) {
    fs.Remove(temporary).IgnoreError();  // it may not exist; what failed first is what matters
    return Annotate(status, fmt::format("writing '{}'", path));
  }
  return Annotate(fs.SyncDirectory(DirectoryOf(path)), fmt::format("writing '{}'", path));  // 6
}

bool IsTemporaryName(std::string_view name) {
  if (name.size() <= kMark.size() + kDigits) return false;
  const std::string_view tail = name.substr(name.size() - kMark.size() - kDigits);
  return tail.substr(0, kMark.size()) == kMark &&
         tail.find_first_not_of("0123456789abcdef", kMark.size()) == std::string_view::npos;
}

absl::StatusOr<std::vector<std::string>> SweepTemporaries(FileSystem& fs,
                                                          std::string_view directory) {
  ASSIGN_OR_RETURN(std::vector<std::string> names, fs.List(directory));
  std::erase_if(names, [](const std::string& name) { return !IsTemporaryName(name); });
  for (const std::string& name : names) RETURN_IF_ERROR(fs.Remove(JoinPath(directory, name)));
  return names;
}

}  // namespace neolog
