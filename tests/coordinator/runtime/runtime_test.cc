#include "coordinator/runtime/runtime.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "common/storage/memory_blob_store.h"
#include "coordinator/journal/memory_journal.h"
#include "tests/coordinator/core/fixtures.h"
#include "tests/support/fake_clock.h"
#include "tests/support/status_matchers.h"

namespace neolog::coordinator {
namespace {

using ::neolog::testing::FakeClock;
using ::neolog::testing::StatusIs;
using ::testing::_;
using ::testing::HasSubstr;
using testing::MakeCommit;
using testing::MakeIdentity;
using testing::MakeRegister;
using testing::MakeSpec;

/// A journal whose appends wait until they are let through.
class GatedJournal : public MemoryJournal {
 public:
  absl::Status Append(const JournalBatch& batch) override {
    {
      MutexLock lock(gate_mutex_);
      ++waiting_;
      changed_.NotifyAll();
      while (closed_) changed_.Wait(gate_mutex_);
    }
    return MemoryJournal::Append(batch);
  }
  void Close() {
    MutexLock lock(gate_mutex_);
    closed_ = true;
    waiting_ = 0;
  }
  void WaitForAppend() {
    MutexLock lock(gate_mutex_);
    while (waiting_ == 0) changed_.Wait(gate_mutex_);
  }
  void Open() {
    MutexLock lock(gate_mutex_);
    closed_ = false;
    changed_.NotifyAll();
  }

 private:
  Mutex gate_mutex_;
  CondVar changed_;
  bool closed_ GUARDED_BY(gate_mutex_) = false;
  int waiting_ GUARDED_BY(gate_mutex_) = 0;
};

class RecordingLink : public WorkerLink {
 public:
  void Send(v1::CoordinatorMessage message) override {
    MutexLock lock(mutex_);
    messages_.push_back(std::move(message));
    changed_.NotifyAll();
  }
  void Close() override {
    MutexLock lock(mutex_);
    closed_ = true;
    changed_.NotifyAll();
  }
  /// Waits for a message of a kind and returns it.
  v1::CoordinatorMessage WaitFor(v1::CoordinatorMessage::BodyCase kind) {
    MutexLock lock(mutex_);
    while (true) {
      for (auto it = messages_.begin(); it != messages_.end(); ++it) {
        if (it->body_case() != kind) continue;
        v1::CoordinatorMessage found = *it;
        messages_.erase(messages_.begin(), it + 1);
        return found;
      }
      changed_.Wait(mutex_);
    }
  }
  size_t count() {
    MutexLock lock(mutex_);
    return messages_.size();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<v1::CoordinatorMessage> messages_ GUARDED_BY(mutex_);
  bool closed_ GUARDED_BY(mutex_) = false;
};

class AnyDirectory : public LogDirectories {
 public:
  absl::StatusOr<std::string> CheckFree(const v1::RunSpec& spec) override {
    return "/out/" + spec.name();
  }
};

class RuntimeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_OK(blobs_.Put("picture"));
    Start();
  }
  void TearDown() override {
    journal_.Open();
    runtime_.reset();
  }
  void Start() {
    runtime_.reset();
    RuntimeOptions options;
    options.core.settle = absl::ZeroDuration();
    auto runtime = Runtime::Create(
        options, {.journal = &journal_,
                  .blobs = &blobs_,
                  .clock = &clock_,
                  .timers = &clock_,
                  .directories = &directories_,
                  .random = [this] { return ++random_; },
                  .on_fatal = [this](const absl::Status& status) { fatal_.set_value(status); }});
    ASSERT_OK(runtime);
    runtime_ = *std::move(runtime);
  }
  absl::StatusOr<v1::SubmitRunResponse> Submit(const v1::RunSpec& spec) {
    std::promise<absl::StatusOr<v1::SubmitRunResponse>> answer;
    v1::SubmitRunRequest request;
    *request.mutable_spec() = spec;
    runtime_->Submit(request, [&](auto response) { answer.set_value(std::move(response)); });
    return answer.get_future().get();
  }
  Runtime::Snapshot Status() {
    std::promise<Runtime::Snapshot> answer;
    runtime_->GetStatus([&](auto snapshot) { answer.set_value(*std::move(snapshot)); });
    return answer.get_future().get();
  }
  LinkId Join(std::shared_ptr<RecordingLink> link, const std::string& id) {
    const LinkId number = runtime_->OpenLink(link);
    v1::WorkerMessage message;
    *message.mutable_worker() = MakeIdentity(id);
    *message.mutable_register_() = MakeRegister();
    runtime_->OnMessage(number, message);
    link->WaitFor(v1::CoordinatorMessage::kRegistered);
    return number;
  }
  void Commit(LinkId link, const std::string& id, const v1::Assignment& assignment, uint64_t first,
              uint64_t last) {
    v1::WorkerMessage message;
    *message.mutable_worker() = MakeIdentity(id);
    *message.mutable_commit() = MakeCommit(assignment.team_id(), assignment.roster().version(),
                                           assignment.runs(0).run_id(), first, last);
    runtime_->OnMessage(link, message);
  }

  GatedJournal journal_;
  MemoryBlobStore blobs_;
  FakeClock clock_;
  AnyDirectory directories_;
  uint64_t random_ = 0;
  std::promise<absl::Status> fatal_;
  std::unique_ptr<Runtime> runtime_;
};

TEST_F(RuntimeTest, NothingGoesOut_BeforeItIsDurableAndWhatWaitsIsOneTransaction) {
  auto link = std::make_shared<RecordingLink>();
  const LinkId number = Join(link, "w0");
  ASSERT_OK(Submit(MakeSpec()));
  const v1::Assignment assignment = link->WaitFor(v1::CoordinatorMessage::kAssignment).assignment();
  journal_.Close();
  Commit(number, "w0", assignment, 1, 1);
  journal_.WaitForAppend();
  const uint64_t before = journal_.appends();
  const uint64_t events_before = runtime_->events().End();
  for (uint64_t step = 2; step <= 20; ++step) Commit(number, "w0", assignment, step, step);
  EXPECT_EQ(link->count(), 0u) << "acknowledged before it was durable";
  EXPECT_EQ(runtime_->events().End(), events_before);
  journal_.Open();
  while (link->WaitFor(v1::CoordinatorMessage::kCommitted).committed().step() < 20) {
  }
  EXPECT_EQ(journal_.appends() - before, 2u) << "nineteen commits that waited share a transaction";
  EXPECT_OK(journal_.ReadState({assignment.runs(0).run_id(), 20}));
  EXPECT_FALSE(journal_.ReadState({assignment.runs(0).run_id(), 19}).ok());
}

TEST_F(RuntimeTest, JournalThatFails_StopsEverythingAndAnswersWithTheError) {
  journal_.FailAppends(absl::ResourceExhaustedError("disk full"));
  EXPECT_THAT(Submit(MakeSpec()),
              StatusIs(absl::StatusCode::kResourceExhausted, HasSubstr("disk full")));
  EXPECT_THAT(fatal_.get_future().get(), StatusIs(absl::StatusCode::kResourceExhausted, _));
  EXPECT_THAT(Submit(MakeSpec("other")), StatusIs(absl::StatusCode::kUnavailable, _));
}

TEST_F(RuntimeTest, MissingPicture_IsRefusedByName) {
  v1::RunSpec spec = MakeSpec();
  spec.mutable_data()->mutable_samples(0)->set_image_digest(std::string(64, '0'));
  EXPECT_THAT(Submit(spec), StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("'a.png'")));
}

TEST_F(RuntimeTest, Restart_GoesOnFromTheJournal) {
  auto link = std::make_shared<RecordingLink>();
  const LinkId number = Join(link, "w0");
  ASSERT_OK(Submit(MakeSpec()));
  const v1::Assignment assignment = link->WaitFor(v1::CoordinatorMessage::kAssignment).assignment();
  Commit(number, "w0", assignment, 1, 7);
  link->WaitFor(v1::CoordinatorMessage::kCommitted);
  Start();
  const Runtime::Snapshot snapshot = Status();
  ASSERT_EQ(snapshot.status.runs_size(), 1);
  EXPECT_EQ(snapshot.status.runs(0).step(), 7u);
  EXPECT_EQ(snapshot.status.runs(0).state(), v1::RUN_STATE_RUNNING);
  EXPECT_EQ(snapshot.status.workers(0).reason(), "expected back after the coordinator's restart");
}

TEST_F(RuntimeTest, Ticks_EndLeases) {
  auto link = std::make_shared<RecordingLink>();
  Join(link, "w0");
  clock_.Advance(absl::Seconds(2));
  EXPECT_EQ(link->WaitFor(v1::CoordinatorMessage::kRefused).refused().code(),
            v1::Refused::CODE_STALE_INCARNATION);
  EXPECT_EQ(Status().status.workers(0).state(), "lost");
}

TEST_F(RuntimeTest, Stopped_AnswersUnavailable) {
  runtime_->Stop();
  EXPECT_THAT(Submit(MakeSpec()),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("shutting down")));
  clock_.Advance(absl::Seconds(1));
}

}  // namespace
}  // namespace neolog::coordinator
