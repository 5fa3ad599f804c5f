#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/base/mutex.h"
#include "common/storage/blob_store.h"
#include "common/storage/file_system.h"
#include "common/storage/run_directory.h"
#include "coordinator/core/retention.h"
#include "coordinator/journal/journal.h"
#include "coordinator/runtime/runtime.h"

namespace neolog::coordinator {

/// Makes the bytes of an embedding file from a state; `format` is "a1111" or "diffusers".
using EmbeddingWriter = std::function<absl::StatusOr<std::string>(
    const v1::RunSpec& spec, const v1::TrainState& state, std::string_view format)>;

/// What the projector works with; none is owned, all must outlive it.
struct ProjectorDependencies {
  FileSystem* fs = nullptr;
  BlobStore* blobs = nullptr;
  Journal* journal = nullptr;
  EmbeddingWriter write_embedding;
};

/// Writes every run's folder (common/storage/run_directory.h) from what is durable: commits, run
/// states and artifacts. Nothing here is a truth: what a kill interrupted is made again at the next
/// start, and making it twice changes nothing. A folder that belongs to another run, or that the
/// user removed after the run ended, is left alone. Trouble with a folder (a full disk) is logged
/// once per run and never stops training. It has a thread of its own.
class Projector : public BatchObserver, public LogDirectories {
 public:
  /// Brings every folder up to date with the journal, then starts. Errors of the journal only.
  static absl::StatusOr<std::unique_ptr<Projector>> Create(ProjectorDependencies dependencies);
  /// Finishes what is queued.
  ~Projector() override;

  absl::StatusOr<std::string> CheckFree(const v1::RunSpec& spec) override;
  void OnDurable(const JournalBatch& batch) override;
  /// Returns when everything queued so far is written.
  void Flush();

 private:
  /// A folder as far as it is known.
  struct Folder {
    v1::RunSpec spec;
    std::unique_ptr<RunDirectory> directory;
    v1::RunState state = v1::RUN_STATE_QUEUED;
    uint64_t committed = 0;
    std::vector<uint64_t> checkpoints;  // steps of states that are kept for good
    std::vector<v1::ArtifactReport> previews;
    std::map<uint64_t, double> validation;  // losses by step: they may be reported out of order
    bool validation_due = false;            // there is one that the file on disk does not hold yet
    std::string csv;                        // the whole file, until it is on disk
    bool csv_is_whole = false;              // the file on disk holds every line before `csv`
    std::unique_ptr<WritableFile> csv_file;
    bool claimed = false;
    bool abandoned = false;   // another run's, or removed by the user
    bool in_trouble = false;  // logged already
  };

  explicit Projector(ProjectorDependencies dependencies) : dependencies_(std::move(dependencies)) {}
  absl::Status Rebuild();
  void Loop();
  void Take(const v1::JournalRecord& record, const JournalBatch* batch);
  void Note(const std::string& run_id, Folder& folder, const absl::Status& status);
  absl::Status Claim(const std::string& run_id, Folder& folder);
  absl::Status WriteSettings(Folder& folder);
  absl::Status WriteCsv(Folder& folder);
  absl::Status CloseCsv(Folder& folder);
  /// Writes all of it, in order of the steps; nothing when there is nothing new. It has few lines.
  absl::Status WriteValidation(Folder& folder);
  absl::Status WritePreview(Folder& folder, const v1::ArtifactReport& artifact);
  /// A partial embedding after `step`, or the final one; from `bytes`, or from the journal when
  /// those are null.
  absl::Status WriteEmbeddings(const std::string& run_id, Folder& folder, uint64_t step, bool final,
                               const std::string* bytes);
  /// Writes a file unless it holds these bytes already.
  absl::Status WriteIfDifferent(const std::string& path, const std::string& bytes);

  const ProjectorDependencies dependencies_;
  std::map<std::string, Folder> folders_;  // the thread's alone once it runs

  Mutex mutex_;
  CondVar changed_;
  std::vector<JournalBatch> queue_ GUARDED_BY(mutex_);
  bool busy_ GUARDED_BY(mutex_) = false;
  bool stopping_ GUARDED_BY(mutex_) = false;
  std::thread thread_;  // last: it uses the members above
};

}  // namespace neolog::coordinator
