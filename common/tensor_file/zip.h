#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace neolog {

/// The members of a zip archive by name, as views into `bytes`. Only what torch.save writes is
/// read: members stored without compression or encryption, zip64 allowed. Everything is checked
/// before anything is returned: the central directory lies inside the file and fills the space in
/// front of its end record; local headers agree with it; members do not overlap; checksums are
/// right; no name appears twice. DataLoss with the byte offset for damage, InvalidArgument for what
/// is valid but not read. At most 100,000 members; memory does not grow with what headers claim.
///
/// kNoChecksums leaves the members' contents unread.
enum class ZipChecks { kAll, kNoChecksums };
absl::StatusOr<std::map<std::string, std::string_view>> ReadStoredZip(
    std::string_view bytes, ZipChecks checks = ZipChecks::kAll);

/// Writes an archive as torch.save does: stored, sizes behind the data, data aligned to 64 bytes by
/// an extra field, no dates. The same members give the same bytes. Members must be smaller than 4
/// GB together.
class StoredZipWriter {
 public:
  void Add(std::string_view name, std::string_view data);
  /// The archive; the writer is spent.
  std::string Finish();

 private:
  std::string bytes_;
  std::string directory_;
  uint16_t count_ = 0;
};

}  // namespace neolog
