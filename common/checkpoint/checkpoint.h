#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/checkpoint/config.h"
#include "common/checkpoint/weights.h"
#include "common/storage/model_fingerprint.h"

namespace neolog {

enum class ModelFamily { kSd1, kSd2, kSdxl };
/// "SD 1.x", "SD 2.x", "SDXL".
std::string_view NameOf(ModelFamily family);

/// What the user knows better than the files.
struct CheckpointOptions {
  /// A VAE in place of the model's own: a file in the original or in diffusers' layout, or a folder
  /// with config.json. Empty: the model's own.
  std::string vae_path;
  /// Whether the UNet predicts velocity.
  std::optional<bool> v_prediction;
  /// Side of the pictures the model was made for, in pixels; 0: as the files say.
  int64_t image_size = 0;
  /// Where models of the hub are kept (see hub_cache.h); empty: as the environment says.
  std::string hub_cache;
};

/// Where a text encoder's tokenizer comes from.
struct TokenizerSource {
  enum class Kind {
    kNone,    // the folder has no tokenizer
    kFolder,  // vocab.json and merges.txt in `folder`
    kClip     // CLIP's own 49,408 tokens: a single file carries no tokenizer
  };
  Kind kind = Kind::kNone;
  std::string folder;  // where it is, or should be
  /// Of kClip: prompts are filled up with the end token (SD 1, SDXL's first) or with token 0.
  bool pads_with_end = true;
};

/// One part of a model.
struct CheckpointPart {
  std::string name;  // "text_encoder", "text_encoder_2", "unet", "vae": diffusers' folder
  WeightTable weights;
};

/// A Stable Diffusion model as its files describe it. Weights are mapped, not read.
///
/// A diffusers folder (model_index.json) has configurations of its own; which weights of a part are
/// taken is FindPartFiles' choice. A single file (.safetensors, .ckpt, .pt, .bin in the original
/// layout) has none: sizes follow from the weights' shapes, and what shapes do not say comes, in
/// this order, from the options, a .yaml of the file's name beside it, the file's own texts and
/// keys, and at last the family's rule:
///
///   heads              SD 1: 8; SD 2, SDXL: 64 channels each
///   normalisations     32 groups
///   prediction         SD 1, SDXL: noise; SD 2: velocity (a guess: a file cannot be told from a
///                      512-base model, which predicts noise)
///   picture side       SD 1: 512; SD 2: 768 with velocity, 512 with noise; SDXL: 1024
///   scaling factor     SD 1, SD 2: 0.18215; SDXL: 0.13025
///   noise schedule     1000 steps, betas from 0.00085 to 0.012, linear in their roots
///
/// Non-EMA weights are used where there are both. SD 2's text encoder loses its last layer, which
/// the model does not use; SDXL's keep all.
struct Checkpoint {
  /// The model itself: what was asked for, or the snapshot of a hub name.
  std::string path;
  bool single_file = false;
  ModelFamily family = ModelFamily::kSd1;

  bool v_prediction = false;
  /// Nothing but the family's rule says so.
  bool prediction_guessed = false;
  /// Why, as a sentence without full stop.
  std::string prediction_reason;
  int64_t image_size = 0;  // pixels
  bool image_size_guessed = false;

  /// Configurations; one text encoder, or two for SDXL. Only the second one's projection counts:
  /// projection_dim of the first is 0. Start and end token are the tokenizer's.
  std::vector<ClipConfig> clips;
  UNetConfig unet;
  VaeConfig vae;
  SchedulerConfig scheduler;

  /// As many as `clips`.
  std::vector<CheckpointPart> text_encoders;
  CheckpointPart unet_weights;
  CheckpointPart vae_weights;

  /// As many as `clips`.
  std::vector<TokenizerSource> tokenizers;
  /// Sorted by name; what the fingerprint covers.
  std::vector<ModelFile> files;
  /// What the user should know: guesses, weights that are not used. Sentences without full stop.
  std::vector<std::string> notes;
};

/// Looks at a model and adds every problem to `problems`: what is wrong with which file or key, and
/// what to do. The result is whole only when none was added. `path` is a folder, a file or the name
/// of a model in the hub's local cache ("owner/name"; also behind a folder that does not exist: a
/// name in a YAML file is read as a path).
Checkpoint InspectCheckpoint(const std::string& path, const CheckpointOptions& options,
                             std::vector<std::string>* problems);

/// The same; NotFound when there is no such model (another machine may have it), else
/// InvalidArgument with all problems.
absl::StatusOr<Checkpoint> OpenCheckpoint(const std::string& path,
                                          const CheckpointOptions& options);

}  // namespace neolog
