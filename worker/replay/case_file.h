#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/tensor_file/safetensors.h"

namespace neolog::replay {

/// The JSON object of a case: every read checks the type and range, collects what is wrong, and
/// goes on with a harmless value; Finish reports all of it. Keys that nobody read are wrong too.
class Settings {
 public:
  /// InvalidArgument unless `text` is one JSON object without duplicate keys that has a string
  /// `kind`.
  static absl::StatusOr<Settings> Parse(const std::string& text);

  const std::string& kind() const { return kind_; }
  double Number(const std::string& key, double low, double high);
  std::optional<double> OptionalNumber(const std::string& key, double low, double high);
  int64_t Integer(const std::string& key, int64_t low, int64_t high);
  std::string OneOf(const std::string& key, const std::vector<std::string>& allowed);
  /// The value as it is; null when it is missing (then an error is kept).
  const nlohmann::json& Any(const std::string& key);
  void AddError(const std::string& key, std::string_view what);

  /// OK, or InvalidArgument with every problem.
  absl::Status Finish();

 private:
  nlohmann::json json_;
  std::string kind_;
  std::map<std::string, bool> read_;
  std::vector<std::string> problems_;
};

/// What one tensor of a case must be. `shape` is written as in the contract, "S,B,T": every letter
/// or word is a size that is known beforehand or fixed by the first tensor that has it; a number
/// stands for itself; "1+steps" and "H/8" are written as sizes given beforehand.
struct TensorRule {
  std::string name;
  TensorType type = TensorType::kFloat32;
  std::string shape;
  bool optional = false;
};

/// Sizes by the names in TensorRule::shape.
using Sizes = std::map<std::string, int64_t>;

/// One case: `__metadata__` and tensors.
class CaseFile {
 public:
  /// NotFound, DataLoss and InvalidArgument name the file and what is wrong: metadata other than
  /// the one key `neolog.replay`, or a JSON object without `kind`.
  static absl::StatusOr<CaseFile> Open(const std::string& path);

  const std::string& path() const { return path_; }
  /// A fresh reader of the JSON object.
  Settings settings() const { return settings_; }
  /// The file with its tensors; what is mapped lives as long as this.
  const std::shared_ptr<const SafetensorsFile>& file() const { return file_; }

  /// Checks that exactly these tensors are there, with these types and shapes, and that floating
  /// values are finite. `sizes` holds the known sizes and gets the free ones. InvalidArgument names
  /// every tensor that is wrong.
  absl::Status Check(const std::vector<TensorRule>& rules, Sizes& sizes) const;

 private:
  CaseFile() = default;
  std::string path_;
  Settings settings_;
  std::shared_ptr<const SafetensorsFile> file_;
};

}  // namespace neolog::replay
