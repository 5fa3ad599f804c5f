#include "coordinator/projection/projector.h"

#include <fmt/format.h>

#include <algorithm>

#include "common/base/log.h"
#include "common/config/settings_text.h"
#include "common/storage/durable_write.h"
#include "coordinator/core/run_states.h"
#include "coordinator/projection/loss_csv.h"

namespace neolog::coordinator {
namespace {

RunDirectory DirectoryOfRun(const v1::RunSpec& spec) {
  return RunDirectory(spec.checkpoint().log_dir(), spec.name(),
                      spec.word_size() > 0 ? spec.word(0).name() : "");
}

/// The formats a run asks for; those of its number of text encoders when it asks for none.
std::vector<EmbeddingFormat> FormatsOf(const v1::RunSpec& spec) {
  std::vector<EmbeddingFormat> formats;
  for (const std::string& name : spec.checkpoint().formats()) {
    const EmbeddingFormatFacts* facts = FindEmbeddingFormat(name);
    if (facts != nullptr) formats.push_back(facts->format);  // submission refused others
  }
  if (!formats.empty()) return formats;
  if (spec.model().text_widths_size() > 1) return {EmbeddingFormat::kSdxl};
  return {EmbeddingFormat::kA1111, EmbeddingFormat::kDiffusers};
}

/// States with an end: the file of the word's own name is written.
bool HasFinalEmbedding(v1::RunState state) {
  return state == v1::RUN_STATE_COMPLETED || state == v1::RUN_STATE_STOPPED;
}

const std::string* FindState(const JournalBatch* batch, const std::string& run_id, uint64_t step) {
  if (batch == nullptr) return nullptr;
  for (const auto& [key, bytes] : batch->put_states) {
    if (key == StateKey{run_id, step}) return &bytes;
  }
  return nullptr;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Projector>> Projector::Create(ProjectorDependencies dependencies) {
  auto projector = std::unique_ptr<Projector>(new Projector(std::move(dependencies)));
  RETURN_IF_ERROR(projector->Rebuild());
  projector->thread_ = std::thread([p = projector.get()] { p->Loop(); });
  return projector;
}

Projector::~Projector() {
  {
    MutexLock lock(mutex_);
    stopping_ = true;
    changed_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

absl::StatusOr<std::string> Projector::CheckFree(const v1::RunSpec& spec) {
  const std::string& log_dir = spec.checkpoint().log_dir();
  if (log_dir.empty() || log_dir[0] != '/') {
    return InvalidArgument(
        fmt::format("checkpoint.log_dir: '{}' is not an absolute path, and the coordinator has no "
                    "folder that it could start at",
                    log_dir));
  }
  if (!IsRunName(spec.name())) {
    return InvalidArgument(fmt::format(
        "name: '{}' cannot be a folder's name: use letters, digits, '.', '_' and '-', at "
        "most 100, beginning with a letter, a digit or '_'",
        spec.name()));
  }
  const RunDirectory directory = DirectoryOfRun(spec);
  ASSIGN_OR_RETURN_WITH(const std::string owner, RunDirectoryOwner(*dependencies_.fs, directory),
                        "checkpoint.log_dir");
  if (!owner.empty()) {
    return AlreadyExists(fmt::format(
        "checkpoint.log_dir: '{}' holds run '{}': choose another name or log_dir, or move "
        "the folder away",
        directory.path(), owner));
  }
  return directory.path();
}

absl::Status Projector::Rebuild() {
  RETURN_IF_ERROR(dependencies_.journal->Replay([this](uint64_t, const v1::JournalRecord& record) {
    Take(record, nullptr);
    return absl::OkStatus();
  }));
  for (auto& [run_id, folder] : folders_) {
    const auto owner = RunDirectoryOwner(*dependencies_.fs, *folder.directory);
    const bool ended = IsEnd(folder.state);
    if (!owner.ok() || (*owner != run_id && (ended || !owner->empty()))) {
      folder.abandoned = true;
      continue;
    }
    absl::Status status = Claim(run_id, folder);
    if (status.ok()) status = WriteCsv(folder);
    if (status.ok()) status = WriteValidation(folder);
    for (const v1::ArtifactReport& preview : folder.previews)
      status.Update(WritePreview(folder, preview));
    for (const uint64_t step : folder.checkpoints) {
      status.Update(WriteEmbeddings(run_id, folder, step, false, nullptr));
    }
    if (HasFinalEmbedding(folder.state)) {
      status.Update(WriteEmbeddings(run_id, folder, folder.committed, true, nullptr));
    }
    if (ended) status.Update(CloseCsv(folder));
    Note(run_id, folder, status);
  }
  return absl::OkStatus();
}

void Projector::OnDurable(const JournalBatch& batch) {
  MutexLock lock(mutex_);
  queue_.push_back(batch);
  changed_.NotifyAll();
}

void Projector::Flush() {
  MutexLock lock(mutex_);
  while (!queue_.empty() || busy_) changed_.Wait(mutex_);
}

void Projector::Loop() {
  while (true) {
    std::vector<JournalBatch> batches;
    {
      MutexLock lock(mutex_);
      busy_ = false;
      changed_.NotifyAll();
      while (queue_.empty() && !stopping_) changed_.Wait(mutex_);
      if (queue_.empty()) return;
      batches.swap(queue_);
      busy_ = true;
    }
    for (const JournalBatch& batch : batches) {
      for (const v1::JournalRecord& record : batch.records) Take(record, &batch);
    }
  }
}

/// With a batch: writes what follows from the record. Without one (rebuilding): only takes note of
/// it.
void Projector::Take(const v1::JournalRecord& record, const JournalBatch* batch) {
  const bool live = batch != nullptr;
  if (record.has_run_submitted()) {
    const v1::RunSubmitted& submitted = record.run_submitted();
    Folder& folder = folders_[submitted.run_id()];
    folder.spec = submitted.spec();
    folder.directory = std::make_unique<RunDirectory>(DirectoryOfRun(submitted.spec()));
    folder.csv = LossCsvHeader();
    if (live) Note(submitted.run_id(), folder, Claim(submitted.run_id(), folder));
    return;
  }
  const std::string& run_id = record.has_steps_committed() ? record.steps_committed().run_id()
                              : record.has_run_state_changed()
                                  ? record.run_state_changed().run_id()
                                  : record.artifact_made().artifact().run_id();
  const auto known = folders_.find(run_id);
  if (known == folders_.end()) return;
  Folder& folder = known->second;
  absl::Status status;
  if (record.has_steps_committed()) {
    const uint64_t before = folder.committed;
    for (const v1::StepRecord& step : record.steps_committed().steps()) {
      folder.csv += LossCsvLine(folder.spec, step);
      folder.committed = step.step();
    }
    const bool checkpoint = IsCheckpoint(folder.spec, before, folder.committed);
    if (checkpoint) folder.checkpoints.push_back(folder.committed);
    if (live && !folder.abandoned) {
      status = WriteCsv(folder);
      status.Update(WriteValidation(folder));  // should an earlier attempt have failed
      if (checkpoint) {
        status.Update(WriteEmbeddings(run_id, folder, folder.committed, false,
                                      FindState(batch, run_id, folder.committed)));
      }
    }
  } else if (record.has_run_state_changed()) {
    folder.state = record.run_state_changed().state();
    if (live && !folder.abandoned && HasFinalEmbedding(folder.state)) {
      status = WriteEmbeddings(run_id, folder, folder.committed, true,
                               FindState(batch, run_id, folder.committed));
    }
    if (live && !folder.abandoned && IsEnd(folder.state)) {
      status.Update(WriteValidation(folder));
      status.Update(CloseCsv(folder));
    }
  } else if (record.has_artifact_made()) {
    const v1::ArtifactReport& artifact = record.artifact_made().artifact();
    if (artifact.kind() == v1::ArtifactReport::KIND_PREVIEW) {
      folder.previews.push_back(artifact);
      if (live && !folder.abandoned) status = WritePreview(folder, artifact);
    } else if (artifact.kind() == v1::ArtifactReport::KIND_VALIDATION && artifact.step() > 0) {
      folder.validation_due = folder.validation.emplace(artifact.step(), artifact.value()).second ||
                              folder.validation_due;
      if (live && !folder.abandoned) status = WriteValidation(folder);
    } else {
      return;  // of a newer minor version
    }
  }
  if (live) Note(run_id, folder, status);
}

void Projector::Note(const std::string& run_id, Folder& folder, const absl::Status& status) {
  if (status.ok()) {
    folder.in_trouble = false;
  } else if (!folder.in_trouble) {
    folder.in_trouble = true;
    spdlog::error("run '{}': its results cannot be written, training goes on: {}", run_id,
                  status.ToString());
  }
}

absl::Status Projector::Claim(const std::string& run_id, Folder& folder) {
  if (absl::Status status = ClaimRunDirectory(*dependencies_.fs, *folder.directory, run_id);
      !status.ok()) {
    if (absl::IsAlreadyExists(status)) folder.abandoned = true;
    return status;
  }
  folder.claimed = true;
  return WriteSettings(folder);
}

absl::Status Projector::WriteSettings(Folder& folder) {
  RETURN_IF_ERROR(WriteIfDifferent(folder.directory->SettingsYaml(), config::ToYaml(folder.spec)));
  return WriteIfDifferent(folder.directory->SettingsJson(), config::ToJson(folder.spec));
}

absl::Status Projector::WriteCsv(Folder& folder) {
  if (!folder.csv_is_whole) {
    // The first write of this process: the file on disk may end in the middle of a line.
    folder.csv_file.reset();
    RETURN_IF_ERROR(WriteIfDifferent(folder.directory->LossCsv(), folder.csv));
    folder.csv_is_whole = true;
    folder.csv.clear();
    return absl::OkStatus();
  }
  if (folder.csv.empty()) return absl::OkStatus();
  if (folder.csv_file == nullptr) {
    ASSIGN_OR_RETURN(folder.csv_file, dependencies_.fs->OpenForAppend(folder.directory->LossCsv()));
  }
  if (absl::Status status = folder.csv_file->Append(folder.csv); !status.ok()) {
    folder.csv_file.reset();
    return status;
  }
  folder.csv.clear();
  return absl::OkStatus();
}

absl::Status Projector::CloseCsv(Folder& folder) {
  if (folder.csv_file == nullptr) return absl::OkStatus();
  absl::Status status = folder.csv_file->Sync();
  status.Update(folder.csv_file->Close());
  folder.csv_file.reset();
  return status;
}

absl::Status Projector::WriteValidation(Folder& folder) {
  if (!folder.validation_due) return absl::OkStatus();
  std::string csv = ValidationCsvHeader();
  for (const auto& [step, loss] : folder.validation)
    csv += ValidationCsvLine(folder.spec, step, loss);
  RETURN_IF_ERROR(WriteIfDifferent(folder.directory->ValidationCsv(), csv));
  folder.validation_due = false;
  return absl::OkStatus();
}

absl::Status Projector::WritePreview(Folder& folder, const v1::ArtifactReport& artifact) {
  const std::string path = folder.directory->Preview(artifact.step(), artifact.index());
  if (dependencies_.fs->Exists(path)) return absl::OkStatus();
  ASSIGN_OR_RETURN_WITH(const std::string bytes, dependencies_.blobs->Get(artifact.blob_digest()),
                        fmt::format("the preview after step {}", artifact.step()));
  return WriteFileDurably(*dependencies_.fs, path, bytes);
}

absl::Status Projector::WriteEmbeddings(const std::string& run_id, Folder& folder, uint64_t step,
                                        bool final, const std::string* bytes) {
  if (step == 0)
    return absl::OkStatus();  // stopped before the first step: there is nothing learned
  std::string read;
  if (bytes == nullptr) {
    ASSIGN_OR_RETURN(read, dependencies_.journal->ReadState({run_id, step}));
    bytes = &read;
  }
  v1::TrainState state;
  if (!state.ParseFromString(*bytes)) {
    return DataLoss(
        fmt::format("the state of run '{}' after step {} is no TrainState", run_id, step));
  }
  RETURN_IF_ERROR(dependencies_.blobs->Put(*bytes));
  for (const EmbeddingFormat format : FormatsOf(folder.spec)) {
    ASSIGN_OR_RETURN(const std::string file,
                     dependencies_.write_embedding(folder.spec, state, FactsOf(format).name));
    RETURN_IF_ERROR(WriteIfDifferent(final ? folder.directory->FinalEmbedding(format)
                                           : folder.directory->PartialEmbedding(step, format),
                                     file));
  }
  return absl::OkStatus();
}

absl::Status Projector::WriteIfDifferent(const std::string& path, const std::string& bytes) {
  const auto present = dependencies_.fs->Read(path);
  if (present.ok() && *present == bytes) return absl::OkStatus();
  return WriteFileDurably(*dependencies_.fs, path, bytes);
}

}  // namespace neolog::coordinator
