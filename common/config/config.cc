#include "common/config/config.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "common/config/binder.h"
#include "common/config/checks.h"
#include "common/config/schema.h"
#include "common/config/yaml_tree.h"
#include "fmt/format.h"

namespace neolog::config {
namespace {

constexpr std::string_view kPrefix = "NEOLOG_SET_";

const Descriptor& Root() { return *v1::RunSpec::descriptor(); }

/// False when the file cannot be read at all: what is missing in it cannot be told then.
bool BindFile(const ConfigSources& sources, const Binder::Source& source, Binder* binder,
              ConfigResult* result) {
  const Origin file{.kind = Origin::Kind::kFile, .name = sources.file};
  const YamlLimits limits;
  auto text = sources.fs->Read(sources.file, limits.max_bytes);
  if (!text.ok()) {
    result->errors.push_back({file, "", std::string(text.status().message()), ""});
    return false;
  }
  result->text = *std::move(text);
  const YamlDocument document = ParseYaml(result->text, limits);
  for (const YamlProblem& problem : document.problems) {
    Origin at = file;
    at.line = problem.position.line;
    at.column = problem.position.column;
    result->errors.push_back({std::move(at), problem.key, problem.message, ""});
  }
  if (document.root == nullptr) return false;
  binder->BindDocument(*document.root, source);
  return true;
}

void BindEnvironment(const ConfigSources& sources, const Binder::Source& base, Binder* binder,
                     ConfigResult* result) {
  const auto ours = [](const auto& entry) { return entry.first.starts_with(kPrefix); };
  if (std::none_of(sources.environment.begin(), sources.environment.end(), ours)) return;
  std::map<std::string, std::string> keys;  // variable -> key
  std::vector<std::string> variables;
  for (const std::string& key : AllKeys(Root())) {
    variables.push_back(EnvironmentName(key));
    keys[variables.back()] = key;
  }
  for (const auto& entry : sources.environment) {
    if (!ours(entry)) continue;
    const auto& [variable, value] = entry;
    Binder::Source source = base;
    source.kind = Origin::Kind::kEnvironment;
    source.name = variable;
    const auto found = keys.find(variable);
    if (found == keys.end()) {
      result->errors.push_back({{.kind = source.kind, .name = variable},
                                "",
                                "no setting has this variable",
                                NearestWord(variables, variable)});
    } else {
      binder->BindSetting(found->second, value, source);
    }
  }
}

void BindFlags(const ConfigSources& sources, const Binder::Source& base, Binder* binder,
               ConfigResult* result) {
  for (const std::string& set : sources.sets) {
    Binder::Source source = base;
    source.kind = Origin::Kind::kFlag;
    source.name = "--set";
    const size_t equals = set.find('=');
    if (equals == std::string::npos || equals == 0) {
      result->errors.push_back(
          {{.kind = source.kind, .name = source.name},
           "",
           fmt::format("expected key=value, for example training.steps=500; found '{}'", set),
           ""});
    } else {
      binder->BindSetting(std::string_view(set).substr(0, equals),
                          std::string_view(set).substr(equals + 1), source);
    }
  }
}

bool HasBadUtf8Arguments(const ConfigSources& sources, ConfigResult* result) {
  const size_t before = result->errors.size();
  const auto check = [&](const std::string& value, Origin origin) {
    const YamlDocument quoted = ParseYaml("\"\"\n# " + value);
    if (!quoted.problems.empty() || value.find('\n') != std::string::npos) {
      result->errors.push_back(
          {std::move(origin), "", "the value is not UTF-8 text of one line, or too long", ""});
    }
  };
  for (const std::string& set : sources.sets)
    check(set, {.kind = Origin::Kind::kFlag, .name = "--set"});
  for (const auto& [variable, value] : sources.environment) {
    if (variable.starts_with(kPrefix))
      check(value, {.kind = Origin::Kind::kEnvironment, .name = variable});
  }
  return result->errors.size() > before;
}

/// File first, by place; then what has no place, in the order it was found.
void Sort(std::vector<ConfigError>* errors) {
  std::stable_sort(errors->begin(), errors->end(), [](const ConfigError& a, const ConfigError& b) {
    const auto rank = [](const ConfigError& e) {
      const bool file = e.origin.kind == Origin::Kind::kFile;
      return std::make_tuple(!file, file ? e.origin.line : 0, file ? e.origin.column : 0);
    };
    return rank(a) < rank(b);
  });
}

}  // namespace

std::string EnvironmentName(std::string_view key) {
  std::string name(kPrefix);
  for (const char c : key) {
    if (c == '.') {
      name += "__";
    } else {
      name += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    }
  }
  return name;
}

ConfigError ConfigResult::ErrorAt(std::string_view key, std::string_view problem) const {
  const auto found = origins.find(std::string(key));
  return {found == origins.end() ? Origin() : found->second, std::string(key), std::string(problem),
          ""};
}

ConfigResult LoadRunSpec(const ConfigSources& sources) {
  ConfigResult result;
  if (HasBadUtf8Arguments(sources, &result)) return result;
  const std::string file_directory =
      sources.file.empty() ? sources.working_directory
                           : DirectoryOf(ResolvePath(sources.file, sources.working_directory, ""));
  const Binder::Source file{Origin::Kind::kFile, sources.file, file_directory, sources.home};
  const Binder::Source outside{Origin::Kind::kFlag, "", sources.working_directory, sources.home};
  const Binder::Source defaults{Origin::Kind::kDefault, "", file_directory, sources.home};

  Binder binder(&result.spec, &result.errors, &result.origins);
  const bool readable_file = sources.file.empty() || BindFile(sources, file, &binder, &result);
  BindEnvironment(sources, outside, &binder, &result);
  BindFlags(sources, outside, &binder, &result);
  if (!readable_file) return result;

  const Origin missing_at{.kind = sources.file.empty() ? Origin::Kind::kFlag : Origin::Kind::kFile,
                          .name = sources.file.empty() ? "--set" : sources.file};
  binder.BindDefaults(defaults, missing_at);

  std::set<std::string, std::less<>> bad;
  for (const ConfigError& error : result.errors) bad.insert(error.key);
  const auto readable = [&bad](std::string_view key) { return bad.find(key) == bad.end(); };
  const Report report = [&](std::string_view key, std::string problem, std::string nearest) {
    ConfigError error = result.ErrorAt(key, problem);
    error.nearest = std::move(nearest);
    if (error.origin.kind == Origin::Kind::kDefault) error.origin = missing_at;
    result.errors.push_back(std::move(error));
  };
  CheckConsistency(result.spec, readable, report);
  if (sources.check_files) CheckFiles(result.spec, *sources.fs, report);
  Sort(&result.errors);
  return result;
}

}  // namespace neolog::config
