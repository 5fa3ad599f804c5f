#pragma once

#include <memory>

#include "common/storage/file_system.h"

namespace neolog {

/// The machine's file system. Files are made with mode 0666 and directories with 0777, less the
/// umask.
std::unique_ptr<FileSystem> MakePosixFileSystem();

}  // namespace neolog
