#pragma once

#include <string>
#include <string_view>

#include "common/embedding/embedding.h"

// AUTOMATIC1111's image carrier: a PNG picture with an embedding in it, twice. (a) A tEXt chunk
// `sd-ti-embedding` with the base64 of a JSON text: the dictionary of the .pt file, each tensor as
// {"TORCHTENSOR": nested lists}. (b) The zlib-packed JSON in the low four bits of two blocks of
// pixels, one on each side of the picture, each parted from it by one black column: the left block
// has the low halves of the bytes, the right one the high halves, both XORed with a fixed sequence.

namespace neolog {

/// The carrier of an embedding with one block: `picture` (a PNG file; empty: a plain card) between
/// the blocks. Nothing is drawn on it. InvalidArgument when the picture is none or has fewer than
/// 16 rows, or the embedding is larger than readers take (16 MiB of text).
absl::StatusOr<std::string> WriteCarrier(const Embedding& embedding, std::string_view picture);

/// The embedding in a PNG file, from the text, else from the pixels. The name is empty where it has
/// none; does not check sizes and values. Errors as ReadEmbedding says, without the file's name.
absl::StatusOr<Embedding> ReadCarrier(std::string_view bytes);

}  // namespace neolog
