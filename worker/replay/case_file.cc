#include "worker/replay/case_file.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>
#include <cstring>
#include <set>
#include <sstream>
#include <utility>

namespace neolog::replay {
namespace {

using Json = nlohmann::json;

constexpr char kKey[] = "neolog.replay";
constexpr size_t kMaxJsonBytes = 64 << 20;

std::vector<std::string> Split(const std::string& shape) {
  std::vector<std::string> names;
  std::stringstream stream(shape);
  for (std::string name; std::getline(stream, name, ',');) names.push_back(name);
  return names;
}

std::string Text(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// Index of the first value that is not finite.
std::optional<size_t> FirstNotFinite(const TensorView& view) {
  const size_t count = view.data.size() / sizeof(float);
  for (size_t i = 0; i < count; ++i) {
    float value;
    std::memcpy(&value, view.data.data() + i * sizeof(float), sizeof(float));
    if (!std::isfinite(value)) return i;
  }
  return std::nullopt;
}

}  // namespace

absl::StatusOr<Settings> Settings::Parse(const std::string& text) {
  if (text.size() > kMaxJsonBytes) return InvalidArgument("its JSON is larger than 64 MB");
  // The parser keeps the last of two equal keys; both would be a mistake that nobody sees.
  std::vector<std::set<std::string>> seen;
  std::string twice;
  const auto watch = [&](int, Json::parse_event_t event, Json& value) {
    if (event == Json::parse_event_t::object_start) seen.emplace_back();
    if (event == Json::parse_event_t::object_end) seen.pop_back();
    if (event == Json::parse_event_t::key && !seen.back().insert(value.get<std::string>()).second) {
      twice = value.get<std::string>();
    }
    return true;
  };
  Settings settings;
  settings.json_ = Json::parse(text, watch, /*allow_exceptions=*/false);
  if (settings.json_.is_discarded()) return InvalidArgument("its value is not JSON");
  if (!settings.json_.is_object()) return InvalidArgument("its value is not a JSON object");
  if (!twice.empty()) return InvalidArgument(fmt::format("its JSON has '{}' twice", twice));
  const auto kind = settings.json_.find("kind");
  if (kind == settings.json_.end() || !kind->is_string())
    return InvalidArgument("its JSON has no string 'kind'");
  settings.kind_ = kind->get<std::string>();
  settings.read_["kind"] = true;
  return settings;
}

void Settings::AddError(const std::string& key, std::string_view what) {
  problems_.push_back(fmt::format("'{}' {}", key, what));
}

const Json& Settings::Any(const std::string& key) {
  static const Json null;
  read_[key] = true;
  const auto it = json_.find(key);
  if (it == json_.end()) {
    AddError(key, "is missing");
    return null;
  }
  return *it;
}

double Settings::Number(const std::string& key, double low, double high) {
  const Json& value = Any(key);
  if (json_.contains(key) &&
      !(value.is_number() && value.get<double>() >= low && value.get<double>() <= high)) {
    AddError(key, fmt::format("is {}; expected a number from {} to {}", value.dump(), low, high));
    return low;
  }
  return value.is_number() ? value.get<double>() : low;
}

std::optional<double> Settings::OptionalNumber(const std::string& key, double low, double high) {
  if (!json_.contains(key)) return std::nullopt;
  return Number(key, low, high);
}

int64_t Settings::Integer(const std::string& key, int64_t low, int64_t high) {
  const Json& value = Any(key);
  if (!json_.contains(key)) return low;
  if (!value.is_number_integer() || value.get<double>() < static_cast<double>(low) ||
      value.get<double>() > static_cast<double>(high)) {
    AddError(key, fmt::format("is {}; expected an integer from {} to {}", value.dump(), low, high));
    return low;
  }
  return value.get<int64_t>();
}

std::string Settings::OneOf(const std::string& key, const std::vector<std::string>& allowed) {
  const Json& value = Any(key);
  if (!json_.contains(key)) return allowed[0];
  for (const std::string& one : allowed) {
    if (value == one) return one;
  }
  AddError(key, fmt::format("is {}; expected one of: {}", value.dump(), fmt::join(allowed, ", ")));
  return allowed[0];
}

absl::Status Settings::Finish() {
  for (const auto& [key, value] : json_.items()) {
    if (!read_.count(key)) AddError(key, fmt::format("means nothing for the kind '{}'", kind_));
  }
  if (problems_.empty()) return absl::OkStatus();
  return InvalidArgument(fmt::format("{}: {}", kKey, fmt::join(problems_, "; ")));
}

absl::StatusOr<CaseFile> CaseFile::Open(const std::string& path) {
  ASSIGN_OR_RETURN(std::shared_ptr<const SafetensorsFile> file, SafetensorsFile::Open(path));
  for (const auto& [key, value] : file->metadata()) {
    if (key != kKey) {
      return InvalidArgument(
          fmt::format("'{}': metadata key '{}'; expected only '{}'", path, key, kKey));
    }
  }
  const auto it = file->metadata().find(kKey);
  if (it == file->metadata().end()) {
    return InvalidArgument(
        fmt::format("'{}': no metadata key '{}': this is not a replay case", path, kKey));
  }
  CaseFile result;
  result.path_ = path;
  ASSIGN_OR_RETURN_WITH(result.settings_, Settings::Parse(it->second),
                        fmt::format("'{}': {}", path, kKey));
  result.file_ = std::move(file);
  return result;
}

absl::Status CaseFile::Check(const std::vector<TensorRule>& rules, Sizes& sizes) const {
  std::vector<std::string> problems;
  std::set<std::string> known;
  for (const TensorRule& rule : rules) {
    known.insert(rule.name);
    const auto it = file_->tensors().find(rule.name);
    if (it == file_->tensors().end()) {
      if (!rule.optional)
        problems.push_back(fmt::format("tensor '{}' [{}] is missing", rule.name, rule.shape));
      continue;
    }
    const TensorView& view = it->second;
    if (view.type != rule.type) {
      problems.push_back(fmt::format("tensor '{}' is {}; expected {}", rule.name, NameOf(view.type),
                                     NameOf(rule.type)));
      continue;
    }
    const std::vector<std::string> names = Split(rule.shape);
    bool fits = names.size() == view.shape.size();
    std::string expected;
    for (size_t i = 0; i < names.size(); ++i) {
      const auto size = sizes.find(names[i]);
      int64_t wanted = -1;
      if (size != sizes.end()) {
        wanted = size->second;
      } else if (names[i].find_first_not_of("0123456789") == std::string::npos) {
        wanted = std::stoll(names[i]);
      } else if (names.size() == view.shape.size()) {
        wanted = view.shape[i];
        if (wanted < 1) {
          fits = false;
          wanted = -1;
        } else {
          sizes[names[i]] = wanted;
        }
      }
      if (names.size() == view.shape.size() && view.shape[i] != wanted) fits = false;
      expected += (i == 0 ? "" : ", ") + (wanted < 0 ? names[i] : fmt::to_string(wanted));
    }
    if (!fits) {
      problems.push_back(fmt::format("tensor '{}' has shape {}; expected [{}] = [{}]", rule.name,
                                     Text(view.shape), rule.shape, expected));
    } else if (view.type == TensorType::kFloat32) {
      if (const auto index = FirstNotFinite(view)) {
        problems.push_back(fmt::format(
            "tensor '{}' has a value that is not finite, at flat index {}", rule.name, *index));
      }
    }
  }
  for (const auto& [name, view] : file_->tensors()) {
    if (!known.count(name)) {
      problems.push_back(
          fmt::format("tensor '{}' does not belong to the kind '{}'", name, settings_.kind()));
    }
  }
  if (problems.empty()) return absl::OkStatus();
  return InvalidArgument(fmt::format("{}", fmt::join(problems, "; ")));
}

}  // namespace neolog::replay
