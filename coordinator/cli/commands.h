#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/cli/context.h"
#include "coordinator/cli/output.h"

/// One function per command: options in, exit code out. app.cc reads the command line into these.
namespace neolog::cli {

/// `neolog train`.
struct TrainOptions {
  std::string file;
  std::vector<std::string> settings;
  std::optional<uint32_t> workers;
  bool detach = false;
  bool dry_run = false;
  std::string idempotency_key;
};
ExitCode TrainCommand(Context& context, const TrainOptions& options);

/// `neolog up`.
struct UpOptions {
  std::optional<uint32_t> workers;
  uint32_t threads = 1;
  std::string device = "cpu";
};
ExitCode UpCommand(Context& context, const UpOptions& options);

/// `neolog down`.
ExitCode DownCommand(Context& context);

/// `neolog supervise`: the supervisor's own main loop. Hidden: `up`, `train` and `resume` start it.
struct SuperviseOptions {
  bool on_demand = false;
  double linger_seconds = 10;
};
ExitCode SuperviseCommand(Context& context, const SuperviseOptions& options);

/// `neolog status` and `neolog list`.
struct ListOptions {
  OutputFormat format = OutputFormat::kTable;
  bool headers = true;
  bool watch = false;
};
ExitCode StatusCommand(Context& context, const ListOptions& options);
ExitCode ListCommand(Context& context, const ListOptions& options);

/// `neolog wait`.
struct WaitOptions {
  std::string run;
  /// Seconds; nothing: for ever.
  std::optional<double> timeout_seconds;
};
ExitCode WaitCommand(Context& context, const WaitOptions& options);

/// `neolog logs`.
struct LogsOptions {
  std::string run;
  bool follow = false;
  uint32_t tail = 20;
};
ExitCode LogsCommand(Context& context, const LogsOptions& options);

/// `neolog stop` and `neolog pause`.
ExitCode StopCommand(Context& context, const std::string& run);
ExitCode PauseCommand(Context& context, const std::string& run);

/// `neolog resume`.
struct ResumeOptions {
  std::string run;
  std::optional<uint32_t> workers;
  bool detach = false;
};
ExitCode ResumeCommand(Context& context, const ResumeOptions& options);

/// `neolog config validate|show`.
struct ConfigOptions {
  std::string file;
  std::vector<std::string> settings;
  bool origin = false;
};
ExitCode ConfigValidateCommand(Context& context, const ConfigOptions& options);
ExitCode ConfigShowCommand(Context& context, const ConfigOptions& options);
/// `neolog config explain [KEY]`.
ExitCode ConfigExplainCommand(Context& context, const std::string& key);

/// `neolog doctor`.
ExitCode DoctorCommand(Context& context, OutputFormat format);

/// `neolog tokenize`.
struct TokenizeOptions {
  std::string model;
  bool json = false;
  /// Each prompt as the text encoder reads it, cut or in chunks, and padded.
  bool padded = false;
  std::string long_prompts = "truncate";
};
ExitCode TokenizeCommand(Context& context, const TokenizeOptions& options);

/// `neolog model info`.
struct ModelInfoOptions {
  std::string path;
  /// A VAE in place of the model's own; empty: none.
  std::string vae;
  /// "epsilon" or "v_prediction" where the model's files are known to be silent; empty: as they
  /// say.
  std::string prediction;
  /// Side of the pictures that memory is estimated for; 0: the model's own.
  uint32_t resolution = 0;
  bool json = false;
  /// Reads a single file whole, once, for the hashes it is listed under elsewhere.
  bool hashes = true;
};
ExitCode ModelInfoCommand(Context& context, const ModelInfoOptions& options);

/// `neolog embedding info`.
struct EmbeddingInfoOptions {
  std::string file;
  bool json = false;
  /// A model (as `neolog model info` takes it) whose nearest tokens are shown, or empty.
  std::string model;
};
ExitCode EmbeddingInfoCommand(Context& context, const EmbeddingInfoOptions& options);

/// `neolog embedding convert`.
struct EmbeddingConvertOptions {
  std::string in;
  std::string out;
  /// Empty: what OUT's extension asks for.
  std::string format;
  /// Empty: the one IN has, else its stem.
  std::string name;
  /// A PNG file to carry the rows, or empty.
  std::string picture;
  bool force = false;
};
ExitCode EmbeddingConvertCommand(Context& context, const EmbeddingConvertOptions& options);

/// `neolog embedding verify`: reads every file; exit code 2 when one of them is bad.
ExitCode EmbeddingVerifyCommand(Context& context, const std::vector<std::string>& files);

/// `neolog version`.
ExitCode VersionCommand(Context& context);

}  // namespace neolog::cli
