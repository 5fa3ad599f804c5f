#include "coordinator/cli/inputs.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "common/base/embedding_format.h"
#include "common/base/hash.h"
#include "common/image/image.h"
#include "common/storage/model_fingerprint.h"
#include "common/storage/run_directory.h"
#include "common/text/prompts.h"
#include "common/text/splice.h"
#include "common/text/tokenizer.h"
#include "coordinator/cli/init_file.h"
#include "coordinator/cli/model_check.h"

namespace neolog::cli {
namespace {

/// Also formats that are refused: whoever put one there meant it as a picture.
bool LooksLikeAPicture(const std::string& name) {
  if (HasImageExtension(name)) return true;
  const size_t dot = name.rfind('.');
  if (dot == std::string::npos || dot == 0) return false;
  std::string extension = name.substr(dot);
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return extension == ".bmp" || extension == ".jxl" || extension == ".jp2" || extension == ".svg";
}

/// One run's checks; each adds its problems to the result.
class Checker {
 public:
  Checker(config::ConfigResult& config, const InputDependencies& dependencies)
      : config_(config), deps_(dependencies) {}

  Inputs Run() {
    // An empty path is missing, which is said already, or could not be read for a reason that is.
    if (Readable("model.path") && !spec().model().path().empty()) CheckModel();
    if (Readable("data.images") && !spec().data().images().empty()) CheckPictures();
    CheckFormats();
    CheckWordAndPrompts();
    CheckLogDir();
    if (spec().resources().cuda_graph() == "on" && spec().resources().device() != "cuda") {
      Report("resources.cuda_graph",
             "'on' needs resources.device: cuda; expected auto or off on a CPU");
    }
    return std::move(inputs_);
  }

 private:
  v1::RunSpec& spec() { return config_.spec; }

  /// Whether the setting was given and nothing is wrong with it so far.
  bool Readable(std::string_view key) const {
    return std::none_of(
        config_.errors.begin(), config_.errors.end(), [&](const config::ConfigError& error) {
          return error.key == key ||
                 (error.key.size() < key.size() && key.substr(0, error.key.size()) == error.key &&
                  key[error.key.size()] == '.');
        });
  }

  void Report(std::string_view key, std::string_view problem) {
    config_.errors.push_back(config_.ErrorAt(key, problem));
  }

  void CheckModel() {
    std::vector<std::string> problems;
    const std::string& path = spec().model().path();
    CheckpointOptions options{.vae_path = spec().model().vae()};
    if (spec().model().prediction() == "epsilon") options.v_prediction = false;
    if (spec().model().prediction() == "v_prediction") options.v_prediction = true;
    ModelFacts facts = InspectModel(path, options,
                                    {.precision = spec().model().precision(),
                                     .side = spec().data().resolution(),
                                     .gpu = spec().resources().device() == "cuda"},
                                    &problems);
    for (const std::string& problem : problems) Report("model.path", problem);
    if (facts.positions > 0) positions_ = facts.positions;
    // Also where weights are damaged: the word and the prompts can be checked all the same.
    tokenizers_ = std::move(facts.tokenizers);
    if (!problems.empty()) return;
    inputs_.memory = facts.memory;
    for (const std::string& note : facts.notes)
      inputs_.warnings.push_back(fmt::format("model '{}': {}", path, note));
    for (const uint32_t width : facts.text_widths) spec().mutable_model()->add_text_widths(width);
    if (const absl::Status status = HashModel(facts); !status.ok())
      Report("model.path", ToStd(status.message()));
  }

  absl::Status HashModel(const ModelFacts& facts) {
    v1::ModelSpec& model = *spec().mutable_model();
    ASSIGN_OR_RETURN(*model.mutable_fingerprint(),
                     ModelFingerprint(facts.files, deps_.fingerprint_cache));
    model.set_short_hash(model.fingerprint().substr(0, 10));
    if (!facts.single_file) return absl::OkStatus();
    ASSIGN_OR_RETURN(const ModelHashes hashes, HashesAsA1111(facts.path, deps_.fingerprint_cache));
    model.set_short_hash(hashes.short_hash);
    return absl::OkStatus();
  }

  void CheckPictures() {
    v1::DataSpec& data = *spec().mutable_data();
    const auto names = deps_.fs->List(data.images());
    if (!names.ok()) return Report("data.images", ToStd(names.status().message()));
    size_t bad = 0;
    size_t candidates = 0;
    for (const std::string& name : *names) {
      if (!LooksLikeAPicture(name)) continue;
      ++candidates;
      const std::string path = JoinPath(data.images(), name);
      if (const absl::Status status = AddPicture(path, name, data); !status.ok()) {
        ++bad;
        std::string message(status.message());
        if (message.find(name) == std::string::npos)
          message = fmt::format("'{}': {}", path, message);
        if (data.skip_bad_images()) {
          inputs_.warnings.push_back(message + "; left out (data.skip_bad_images)");
        } else {
          Report("data.images", message);
        }
      }
    }
    if (candidates == 0) {
      Report(
          "data.images",
          fmt::format(
              "the folder '{}' has no pictures; expected jpg, png, webp, tiff, gif, heic or avif "
              "files directly in it",
              data.images()));
    } else if (data.samples().empty() && data.skip_bad_images()) {
      Report("data.images",
             fmt::format("none of the {} pictures in '{}' can be read", candidates, data.images()));
    } else if (bad > 0 && !data.skip_bad_images()) {
      Report("data.images",
             fmt::format("{} of {} pictures cannot be used; repair or remove them, or set "
                         "data.skip_bad_images: true to train without them",
                         bad, candidates));
    }
  }

  absl::Status AddPicture(const std::string& path, const std::string& name, v1::DataSpec& data) {
    ASSIGN_OR_RETURN(const std::string bytes, deps_.fs->Read(path, kMaxImageBytes));
    ASSIGN_OR_RETURN(const Image image, DecodeImage(bytes, path));
    ASSIGN_OR_RETURN(const std::string caption, ReadCaption(path));
    v1::Sample& sample = *data.add_samples();
    sample.set_image_digest(Sha256Hex(bytes));
    sample.set_file_name(name);
    sample.set_caption(caption);
    sample.set_width(static_cast<uint32_t>(image.width));
    sample.set_height(static_cast<uint32_t>(image.height));
    inputs_.pictures.push_back({path, sample.image_digest()});
    return absl::OkStatus();
  }

  /// data.templates; false when they cannot be read.
  bool FillTemplates() {
    v1::DataSpec& data = *spec().mutable_data();
    std::vector<std::string> templates;
    if (data.prompts() == "object") {
      templates = ObjectTemplates();
    } else if (data.prompts() == "style") {
      templates = StyleTemplates();
    } else if (data.prompts() == "file") {
      if (!Readable("data.prompt_file") || data.prompt_file().empty()) return false;
      auto read = ReadTemplateFile(data.prompt_file());
      if (!read.ok()) {
        Report("data.prompt_file", ToStd(read.status().message()));
        return false;
      }
      templates = *std::move(read);
    }
    for (std::string& text : templates) data.add_templates(std::move(text));
    return true;
  }

  /// Every prompt of the run with the word and the captions in it.
  std::vector<std::string> Prompts(const std::string& word) {
    const v1::DataSpec& data = spec().data();
    std::vector<std::string> prompts;
    if (data.templates().empty()) {
      for (const v1::Sample& sample : data.samples())
        prompts.push_back(FillTemplate(sample.caption(), word, sample.caption()));
      return prompts;
    }
    for (const std::string& text : data.templates()) {
      if (!UsesFileWords(text)) {
        prompts.push_back(FillTemplate(text, word, ""));
        continue;
      }
      for (const v1::Sample& sample : data.samples())
        prompts.push_back(FillTemplate(text, word, sample.caption()));
    }
    return prompts;
  }

  void CheckFormats() {
    const auto encoders = static_cast<size_t>(spec().model().text_widths_size());
    if (encoders == 0 || !Readable("checkpoint.formats")) return;
    const auto origin = config_.origins.find("checkpoint.formats");
    if (encoders > 1 && (origin == config_.origins.end() ||
                         origin->second.kind == config::Origin::Kind::kDefault)) {
      // The default is for one text encoder.
      spec().mutable_checkpoint()->clear_formats();
      spec().mutable_checkpoint()->add_formats("sdxl");
    }
    for (const std::string& format : spec().checkpoint().formats()) {
      const EmbeddingFormatFacts* facts = FindEmbeddingFormat(format);
      if (facts == nullptr) continue;
      const std::string problem = FormatProblem(facts->format, encoders);
      if (!problem.empty()) Report("checkpoint.formats", problem);
    }
  }

  void CheckWordAndPrompts() {
    const bool have_prompts = Readable("data.prompts") && FillTemplates();
    if (spec().word_size() != 1 || !Readable("word.name") || tokenizers_.empty()) return;
    v1::WordSpec& word = *spec().mutable_word(0);
    if (word.name().empty()) return;
    for (const auto& tokenizer : tokenizers_) {
      if (const absl::Status status = CheckWord(*tokenizer, word.name()); !status.ok())
        return Report("word.name", ToStd(status.message()));
    }
    if (!word.init_file().empty() && Readable("word.init_file") &&
        spec().model().text_widths_size() > 0) {
      auto rows = ReadInitialRows(
          word.init_file(), word.vectors(),
          {spec().model().text_widths().begin(), spec().model().text_widths().end()}, *deps_.fs);
      if (rows.ok()) {
        word.set_initial_rows(*std::move(rows));
      } else {
        Report("word.init_file", ToStd(rows.status().message()));
      }
    }
    const LearnedWord learned{word.name(), std::max<int64_t>(1, word.vectors())};
    CheckPreviews(learned);
    const bool captions = spec().data().templates().empty();
    if (!have_prompts || (captions && spec().data().samples().empty())) return;
    const std::vector<std::string> prompts = Prompts(word.name());
    const auto rules = PromptRulesOf(spec().text().long_prompts(), "");
    if (!rules.ok()) return;  // reported when it was read
    const auto use = CheckPrompts(*tokenizers_[0], prompts, learned, positions_, *rules);
    if (!use.ok()) {
      const char* key = spec().data().prompts() == "file" ? "data.prompt_file" : "data.prompts";
      return Report(key, ToStd(use.status().message()));
    }
    WarnOfCut(prompts, *use);
    if (!use->without_word.empty()) {
      inputs_.warnings.push_back(
          fmt::format("{} of {} prompts do not contain '{}' and teach it nothing, for example '{}'",
                      use->without_word.size(), prompts.size(), word.name(),
                      prompts[use->without_word.front()]));
    }
  }

  void WarnOfCut(const std::vector<std::string>& prompts, const PromptUse& use) {
    if (use.cut.empty()) return;
    inputs_.warnings.push_back(fmt::format(
        "{} of {} prompts have more than {} tokens and lose their end, up to {} tokens of it, for "
        "example '{}'; text.long_prompts: chunk keeps them whole",
        use.cut.size(), prompts.size(), positions_ - 2, use.most_lost,
        ShortenedPrompt(prompts[use.cut.front()])));
  }

  /// Previews come hours after submission: what is wrong with their prompts is said now.
  void CheckPreviews(const LearnedWord& word) {
    const v1::PreviewSpec& preview = spec().preview();
    const auto rules = PromptRulesOf(spec().text().long_prompts(), preview.emphasis());
    if (preview.every_steps() == 0 || !rules.ok()) return;
    const auto check = [&](const char* key, const std::string& prompt) {
      if (!Readable(key)) return;
      const auto spliced = SplicePrompt(*tokenizers_[0], prompt, {word}, positions_, *rules);
      if (!spliced.ok()) return Report(key, ToStd(spliced.status().message()));
      if (spliced->lost > 0) {
        inputs_.warnings.push_back(
            fmt::format("{}: the last {} tokens of '{}' do not fit and are left out; "
                        "text.long_prompts: chunk keeps them",
                        key, spliced->lost, ShortenedPrompt(prompt)));
      }
    };
    for (const std::string& prompt : preview.prompts()) check("preview.prompts", prompt);
    check("preview.negative_prompt", preview.negative_prompt());
  }

  void CheckLogDir() {
    if (!deps_.check_log_dir || !Readable("name") || !Readable("checkpoint.log_dir") ||
        spec().word_size() != 1)
      return;
    if (!IsRunName(spec().name())) return;
    const RunDirectory folder(spec().checkpoint().log_dir(), spec().name(), spec().word(0).name());
    const auto owner = RunDirectoryOwner(*deps_.fs, folder);
    if (!owner.ok()) return Report("checkpoint.log_dir", ToStd(owner.status().message()));
    if (!owner->empty()) {
      Report("checkpoint.log_dir", fmt::format("'{}' holds another run, {}; choose another name or "
                                               "log_dir, remove the folder, or go on with that "
                                               "run: neolog resume {}",
                                               folder.path(), *owner, *owner));
    }
  }

  config::ConfigResult& config_;
  const InputDependencies& deps_;
  Inputs inputs_;
  std::vector<std::unique_ptr<Tokenizer>> tokenizers_;
  int64_t positions_ = 77;
};

}  // namespace

Inputs CheckInputs(config::ConfigResult& config, const InputDependencies& dependencies) {
  return Checker(config, dependencies).Run();
}

absl::Status UploadPictures(const std::vector<PictureFile>& pictures, FileSystem& fs,
                            BlobStore& blobs, const std::function<bool()>& keep_going) {
  std::vector<std::string> digests;
  for (const PictureFile& picture : pictures) digests.push_back(picture.digest);
  ASSIGN_OR_RETURN_WITH(const std::vector<bool> present, blobs.Has(digests),
                        "asking which pictures are there");
  for (size_t i = 0; i < pictures.size(); ++i) {
    if (!keep_going())
      return Aborted("interrupted while pictures were uploaded; nothing was submitted");
    if (i < present.size() && present[i]) continue;
    ASSIGN_OR_RETURN(const std::string bytes, fs.Read(pictures[i].path));
    if (Sha256Hex(bytes) != pictures[i].digest) {
      return DataLoss(fmt::format("'{}' changed while the run was being started; start it again",
                                  pictures[i].path));
    }
    RETURN_IF_ERROR_WITH(blobs.Put(bytes), fmt::format("uploading '{}'", pictures[i].path));
  }
  return absl::OkStatus();
}

}  // namespace neolog::cli
