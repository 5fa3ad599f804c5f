#include "coordinator/core/submission.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "common/base/embedding_format.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "neolog/v1/options.pb.h"

namespace neolog::coordinator {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr size_t kShownRuns = 5;

bool IsWordCharacter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-';
}

bool IsHexDigest(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

double NumberOf(const Message& message, const FieldDescriptor& field) {
  const auto& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_UINT32: return reflection.GetUInt32(message, &field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return static_cast<double>(reflection.GetUInt64(message, &field));
    case FieldDescriptor::CPPTYPE_DOUBLE: return reflection.GetDouble(message, &field);
    default: return 0;
  }
}

void CheckText(const std::string& name, const v1::Setting& setting, const std::string& value,
               std::vector<std::string>& problems) {
  if (setting.choices_size() == 0) return;
  if (std::find(setting.choices().begin(), setting.choices().end(), value) !=
      setting.choices().end())
    return;
  std::string choices;
  for (const std::string& choice : setting.choices())
    choices += (choices.empty() ? "" : ", ") + choice;
  problems.push_back(fmt::format("{}: '{}' is not one of {}", name, value, choices));
}

void CheckNumber(const std::string& name, const v1::Setting& setting, double value,
                 std::vector<std::string>& problems) {
  if (std::isnan(value)) {
    problems.push_back(name + ": is not a number");
  } else if (setting.has_min() && value < setting.min()) {
    problems.push_back(fmt::format("{}: {} is less than {}", name, value, setting.min()));
  } else if (setting.has_max() && value > setting.max()) {
    problems.push_back(fmt::format("{}: {} is more than {}", name, value, setting.max()));
  }
}

void CheckFields(const Message& message, const std::string& prefix,
                 std::vector<std::string>& problems) {
  const auto& descriptor = *message.GetDescriptor();
  const auto& reflection = *message.GetReflection();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    const std::string name = prefix + field.name();
    const v1::Setting& setting = field.options().GetExtension(v1::setting);
    if (field.is_repeated()) {
      for (int k = 0; k < reflection.FieldSize(message, &field); ++k) {
        const std::string element = fmt::format("{}[{}]", name, k);
        if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
          CheckFields(reflection.GetRepeatedMessage(message, &field, k), element + ".", problems);
        } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
          CheckText(element, setting, reflection.GetRepeatedString(message, &field, k), problems);
        }
      }
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      CheckFields(reflection.GetMessage(message, &field), name + ".", problems);
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      const std::string value = reflection.GetString(message, &field);
      if (setting.required() && value.empty()) problems.push_back(name + ": is missing");
      CheckText(name, setting, value, problems);
    } else {
      CheckNumber(name, setting, NumberOf(message, field), problems);
    }
  }
}

/// Formats that cannot hold the rows of the model's text encoders, and those that would write the
/// same file.
void CheckFormats(const v1::RunSpec& spec, std::vector<std::string>& problems) {
  const auto& names = spec.checkpoint().formats();
  for (int i = 0; i < names.size(); ++i) {
    const EmbeddingFormatFacts* facts = FindEmbeddingFormat(names[i]);
    if (facts == nullptr) continue;  // not one of the choices, which is said already
    if (spec.model().text_widths_size() > 0) {
      const std::string problem =
          FormatProblem(facts->format, static_cast<size_t>(spec.model().text_widths_size()));
      if (!problem.empty())
        problems.push_back(fmt::format("checkpoint.formats[{}]: {}", i, problem));
    }
    for (int k = 0; k < i; ++k) {
      const EmbeddingFormatFacts* other = FindEmbeddingFormat(names[k]);
      if (other == nullptr || other->extension != facts->extension) continue;
      problems.push_back(fmt::format(
          "checkpoint.formats[{}]: '{}' would be the same {} file as '{}': choose one and make the "
          "other with `neolog embedding convert`",
          i, names[i], facts->extension, names[k]));
      break;
    }
  }
}

}  // namespace

std::vector<std::string> ProblemsOf(const v1::RunSpec& spec) {
  std::vector<std::string> problems;
  CheckFields(spec, "", problems);
  const auto want = [&](bool ok, std::string problem) {
    if (!ok) problems.push_back(std::move(problem));
  };
  want(spec.name().size() <= 128 &&
           std::all_of(spec.name().begin(), spec.name().end(), IsWordCharacter) &&
           spec.name() != "." && spec.name() != "..",
       "name: may hold letters, digits, '.', '_' and '-', at most 128 of them");
  want(spec.resources().cuda_graph() != "on" || spec.resources().device() == "cuda",
       "resources.cuda_graph: 'on' needs resources.device: cuda; expected auto or off on a CPU");
  want(spec.word_size() == 1,
       fmt::format("word: exactly one is trained in a run, not {}", spec.word_size()));
  want(!spec.model().fingerprint().empty(), "model.fingerprint: submission did not fill it in");
  const auto& widths = spec.model().text_widths();
  want(!widths.empty() && std::find(widths.begin(), widths.end(), 0u) == widths.end(),
       "model.text_widths: submission did not fill them in");
  CheckFormats(spec, problems);
  want(!spec.checkpoint().log_dir().empty(), "checkpoint.log_dir: is missing");
  want(spec.data().samples_size() > 0, "data.samples: there are no pictures");
  want(spec.data().prompts() == "captions" || spec.data().templates_size() > 0,
       "data.templates: submission did not fill them in");
  for (int i = 0; i < spec.data().samples_size(); ++i) {
    want(IsHexDigest(spec.data().samples(i).image_digest()),
         fmt::format("data.samples[{}].image_digest: is not 64 lower-case hex digits", i));
  }
  for (const v1::WordSpec& word : spec.word()) {
    const size_t width = std::accumulate(widths.begin(), widths.end(), size_t{0});
    const size_t size = sizeof(float) * word.vectors() * width;
    want(word.initial_rows().empty() || word.initial_rows().size() == size,
         fmt::format("word.initial_rows: {} bytes do not hold {} vectors of {} floats",
                     word.initial_rows().size(), word.vectors(), width));
  }
  return problems;
}

absl::Status CheckSpec(const v1::RunSpec& spec) {
  const std::vector<std::string> problems = ProblemsOf(spec);
  if (problems.empty()) return absl::OkStatus();
  std::string message = fmt::format("the run cannot be accepted, {} problem{}:", problems.size(),
                                    problems.size() == 1 ? "" : "s");
  for (const std::string& problem : problems) message += "\n  " + problem;
  return InvalidArgument(message);
}

absl::StatusOr<std::string> ResolveRunId(const ClusterState& state, const std::string& id_or_name) {
  if (state.runs.count(id_or_name) != 0) return id_or_name;
  std::vector<std::string> named;
  std::vector<std::string> others;
  for (const auto& [id, run] : state.runs) {
    (run.spec.name() == id_or_name ? named : others).push_back(id);
  }
  if (named.size() == 1) return named[0];
  std::string list;
  const std::vector<std::string>& shown = named.empty() ? others : named;
  for (size_t i = 0; i < shown.size() && i < kShownRuns; ++i)
    list += (i == 0 ? "" : ", ") + shown[i];
  if (shown.size() > kShownRuns) list += ", ...";
  if (named.empty()) {
    return NotFound(
        fmt::format("there is no run '{}'{}", id_or_name,
                    list.empty() ? "; no run was submitted yet" : "; there are " + list));
  }
  return FailedPrecondition(
      fmt::format("{} runs have the name '{}', give an id: {}", named.size(), id_or_name, list));
}

std::vector<std::string> BlobsOf(const v1::RunSpec& spec) {
  std::vector<std::string> digests;
  for (const v1::Sample& sample : spec.data().samples()) digests.push_back(sample.image_digest());
  return digests;
}

std::string MakeRunId(const ClusterState& state, const std::string& name, uint64_t random_bits) {
  std::string id;
  do {
    id = fmt::format("{}-{:06x}", name, random_bits & 0xffffff);
    random_bits = random_bits * 6364136223846793005u + 1442695040888963407u;
  } while (state.runs.count(id) != 0);
  return id;
}

}  // namespace neolog::coordinator
