#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/storage/file_system.h"

// The durable-write procedure. Every file that must be whole after a crash is written this way and
// no other:
//
//   1. Make `<path>.tmp-<16 random hex digits>` in the same directory (a rename is atomic only
//   within one file system).
//   2. Write all bytes to it.
//   3. Sync it: before this a power loss may leave the new name with no bytes or half of them.
//   4. Close it.
//   5. Rename it to `path`: a reader sees the old file or the new one, never a mixture.
//   6. Sync the directory: before this a power loss may bring the old file back.
//
// The write counts once step 6 returned. When a step fails, the temporary is removed and `path` is
// what it was; only after a failure of step 6 may it be the new file. When the process dies, the
// temporary stays and SweepTemporaries removes it.

namespace neolog {

/// Replaces the file at `path`, or makes it, by the procedure above. The directory must exist. On
/// error the message names the path, and the code is the failing operation's (ResourceExhausted:
/// disk full).
absl::Status WriteFileDurably(FileSystem& fs, std::string_view path, std::string_view bytes);

/// True for names that WriteFileDurably gives its temporaries.
bool IsTemporaryName(std::string_view name);

/// Removes the temporaries that a dead process left in `directory` and returns their names. Only
/// the directory's owner may call this, before its first write: it would take the file from under a
/// living writer.
absl::StatusOr<std::vector<std::string>> SweepTemporaries(FileSystem& fs,
                                                          std::string_view directory);

}  // namespace neolog
