#include "common/config/checks.h"

#include <map>
#include <set>
#include <vector>

#include "common/base/embedding_format.h"
#include "common/config/schema.h"
#include "common/plan/lr_schedule.h"
#include "common/storage/run_directory.h"
#include "fmt/format.h"

namespace neolog::config {
namespace {

constexpr size_t kMaxWordBytes = 64;

// A folder or a file; or a name in the hub's cache, "owner/name", which lies below no folder here.
void CheckModel(const std::string& path, FileSystem& fs, const Report& report) {
  const size_t name = path.rfind('/');
  const bool may_be_on_the_hub =
      name != std::string::npos && name > 0 && !fs.Exists(path.substr(0, name));
  if (!fs.Exists(path) && !may_be_on_the_hub)
    report("model.path", fmt::format("there is no model '{}'", path), "");
}

void CheckFile(std::string_view key, const std::string& path, FileSystem& fs,
               const Report& report) {
  const auto info = fs.Stat(path);
  if (!info.ok()) {
    report(key, fmt::format("there is no file '{}'", path), "");
  } else if (info->is_directory) {
    report(key, fmt::format("'{}' is a folder; expected a file", path), "");
  }
}

}  // namespace

std::string WordNameProblem(std::string_view name) {
  if (name.empty()) return "expected a word, found an empty one";
  if (name.size() > kMaxWordBytes) {
    return fmt::format("expected a word of at most {} bytes, found {}", kMaxWordBytes, name.size());
  }
  // White space beyond ASCII, as UTF-8: no-break space, en quad to hair space, line and paragraph
  // separator, ideographic.
  static constexpr std::string_view kSpaces[] = {" ",      "\u00a0", "\u1680", "\u2000", "\u2001",
                                                 "\u2002", "\u2003", "\u2004", "\u2005", "\u2006",
                                                 "\u2007", "\u2008", "\u2009", "\u200a", "\u2028",
                                                 "\u2029", "\u202f", "\u205f", "\u3000"};
  for (const std::string_view space : kSpaces) {
    if (name.find(space) != std::string_view::npos)
      return fmt::format("'{}' has a space in it; a word has none", name);
  }
  const size_t bad = name.find_first_of("()[]{}:|\\,/\"'`");
  if (bad != std::string_view::npos) {
    return fmt::format("'{}' has '{}' in it, which means something else in prompts or file names",
                       name, name[bad]);
  }
  return "";
}

void CheckConsistency(const v1::RunSpec& spec,
                      const std::function<bool(std::string_view)>& readable, const Report& report) {
  if (readable("name") && !IsRunName(spec.name())) {
    report("name",
           fmt::format("expected at most 100 letters (A-Z, a-z), digits, '.', '_' and '-', "
                       "beginning with a letter, a "
                       "digit or '_'; found '{}'",
                       spec.name()),
           "");
  }
  const v1::WordSpec word = spec.word_size() > 0 ? spec.word(0) : v1::WordSpec();
  if (readable("word.name")) {
    if (std::string problem = WordNameProblem(word.name()); !problem.empty())
      report("word.name", std::move(problem), "");
  }
  if (!word.init_file().empty() && !word.init_text().empty()) {
    report("word.init_file",
           "word.init_text is set too; the vectors start from one of them, so remove the other",
           "");
  }
  const v1::DataSpec& data = spec.data();
  if (data.prompts() == "file" && data.prompt_file().empty() && readable("data.prompt_file")) {
    report("data.prompts", "'file' needs data.prompt_file, which is not set", "");
  }
  if (data.prompts() != "file" && !data.prompt_file().empty() && readable("data.prompts")) {
    report("data.prompt_file",
           fmt::format("is only read with data.prompts: file, which is '{}'", data.prompts()), "");
  }
  if (data.resolution() % 8 != 0) {
    report("data.resolution",
           fmt::format("expected a multiple of 8 (the VAE halves the side three times), found {}",
                       data.resolution()),
           "");
  }
  const v1::TrainingSpec& training = spec.training();
  if (readable("training.learning_rate") && readable("training.steps")) {
    const auto list = ParseStepList(training.learning_rate(), training.steps());
    if (!list.ok()) {
      report("training.learning_rate", std::string(list.status().message()), "");
    } else if (readable("training.schedule") && readable("training.warmup_steps") &&
               readable("training.final_factor")) {
      if (const auto schedule = LrSchedule::Create(training); !schedule.ok()) {
        report("training.warmup_steps", std::string(schedule.status().message()), "");
      }
    }
  }
  if (spec.preview().every_steps() > 0 && spec.preview().prompts().empty() &&
      readable("preview.prompts")) {
    report("preview.every_steps", "previews need preview.prompts, which is not set; 0 draws none",
           "");
  }
  for (const std::string& prompt : spec.preview().prompts()) {
    if (prompt.empty()) report("preview.prompts", "expected a prompt, found an empty one", "");
  }
  if (spec.checkpoint().formats().empty() && readable("checkpoint.formats")) {
    report("checkpoint.formats",
           "expected at least one format, found none: the result would not be written", "");
  }
  std::set<std::string> formats;
  std::map<std::string_view, std::string> extensions;
  for (const std::string& format : spec.checkpoint().formats()) {
    if (!formats.insert(format).second)
      report("checkpoint.formats", fmt::format("'{}' stands here twice", format), "");
    const EmbeddingFormatFacts* facts = FindEmbeddingFormat(format);
    if (facts == nullptr) continue;
    const auto [other, first] = extensions.try_emplace(facts->extension, format);
    if (!first && other->second != format) {
      report("checkpoint.formats",
             fmt::format("'{}' would be the same {} file as '{}': choose one and make the other "
                         "with `neolog embedding convert`",
                         format, facts->extension, other->second),
             "");
    }
  }
}

void CheckFiles(const v1::RunSpec& spec, FileSystem& fs, const Report& report) {
  if (!spec.model().path().empty()) CheckModel(spec.model().path(), fs, report);
  if (const std::string& vae = spec.model().vae(); !vae.empty() && !fs.Exists(vae))
    report("model.vae", fmt::format("there is no file or folder '{}'", vae), "");
  if (const std::string& images = spec.data().images(); !images.empty()) {
    const auto info = fs.Stat(images);
    if (!info.ok()) {
      report("data.images", fmt::format("there is no folder '{}'", images), "");
    } else if (!info->is_directory) {
      report("data.images", fmt::format("'{}' is a file; expected the folder it is in", images),
             "");
    }
  }
  if (spec.data().prompts() == "file" && !spec.data().prompt_file().empty()) {
    CheckFile("data.prompt_file", spec.data().prompt_file(), fs, report);
  }
  if (spec.word_size() > 0 && !spec.word(0).init_file().empty())
    CheckFile("word.init_file", spec.word(0).init_file(), fs, report);
}

}  // namespace neolog::config
