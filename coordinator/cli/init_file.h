#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/embedding/embedding.h"
#include "common/storage/file_system.h"

namespace neolog::cli {

/// An embedding file, as ReadEmbedding reads it. InvalidArgument also for files that are larger
/// than any embedding.
absl::StatusOr<Embedding> ReadEmbeddingFile(const std::string& path, FileSystem& fs);

/// The rows of an embedding file as WordSpec.initial_rows holds them: for each of the
/// model's text encoders, whose widths are `widths`, [vectors, width] float32, row-major,
/// little-endian. InvalidArgument when the file is no embedding of one word, or when its
/// widths are not the model's or its number of vectors not word.vectors; the message says which and
/// what to do.
absl::StatusOr<std::string> ReadInitialRows(const std::string& path, uint32_t vectors,
                                            const std::vector<int64_t>& widths, FileSystem& fs);

}  // namespace neolog::cli
