#pragma once

namespace neolog {

/// The embedding files that Neolog writes, shared by those who name them (common/storage) and those
/// who make their bytes (common/embedding).
enum class EmbeddingFormat {
  kA1111,  ///< .pt as AUTOMATIC1111's web UI writes and reads it; also read by ComfyUI, InvokeAI
           ///< and diffusers
  kDiffusers,  ///< .safetensors as the diffusers script writes it: one tensor, named as the word
};

}  // namespace neolog
