#include "tests/integration/team_cluster.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <signal.h>

#include <stdexcept>

#include "common/base/hash.h"
#include "common/rpc/blob_client.h"
#include "common/rpc/status.h"
#include "neolog/v1/options.pb.h"
#include "tests/support/paths.h"
#include "tests/worker/session/fake_trainer.h"

namespace neolog::testing {
namespace {

void Check(const absl::Status& status, const std::string& what) {
  if (!status.ok()) throw std::runtime_error(what + ": " + status.ToString());
}

/// Gives every setting that has a default and no value its default, as the command line does.
void FillDefaults(google::protobuf::Message& message) {
  using google::protobuf::FieldDescriptor;
  const auto& reflection = *message.GetReflection();
  const auto& descriptor = *message.GetDescriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor& field = *descriptor.field(i);
    if (field.is_repeated()) continue;
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      FillDefaults(*reflection.MutableMessage(&message, &field));
      continue;
    }
    const std::string& value = field.options().GetExtension(v1::setting).default_value();
    if (value.empty() || reflection.HasField(message, &field)) continue;
    switch (field.cpp_type()) {
      case FieldDescriptor::CPPTYPE_STRING: reflection.SetString(&message, &field, value); break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        reflection.SetDouble(&message, &field, std::stod(value));
        break;
      case FieldDescriptor::CPPTYPE_UINT32:
        reflection.SetUInt32(&message, &field, static_cast<uint32_t>(std::stoul(value)));
        break;
      case FieldDescriptor::CPPTYPE_UINT64:
        reflection.SetUInt64(&message, &field, std::stoull(value));
        break;
      default: break;
    }
  }
}

}  // namespace

TeamCluster::TeamCluster(std::string nccl, std::string reduce)
    : nccl_(std::move(nccl)), reduce_(std::move(reduce)), watch_(Target(), absl::Minutes(2)) {}

TeamCluster::~TeamCluster() {
  // Workers first: they would only wait for the coordinator. Subprocess kills and reaps.
  workers_.clear();
  coordinator_.reset();
}

void TeamCluster::StartCoordinator() {
  auto spawned = Subprocess::Spawn({.argv = {ProgramPath("neolog-coordinator"), "--state-dir",
                                             dir_.File("c"), "--log-level", "debug"},
                                    .stdout_to = OutputTo::Null(),
                                    .stderr_to = OutputTo::File(dir_.File("coordinator.log"))});
  Check(spawned.status(), "starting the coordinator");
  coordinator_ = std::move(spawned).value();
}

void TeamCluster::KillCoordinator() { coordinator_.reset(); }

void TeamCluster::StartWorker(int index, int microseconds, const std::string& fault,
                              const std::string& nccl_script) {
  const std::string name = fmt::format("w{}", index);
  std::vector<std::string> argv = {ProgramPath("neolog-test-worker"), Target(), name,
                                   dir_.File(name), std::to_string(microseconds)};
  if (!fault.empty()) argv.push_back(fault);
  std::vector<std::pair<std::string, std::string>> env;
  // The fake libnccl's ranks meet in files of TMPDIR, which go with this folder.
  if (!nccl_.empty()) {
    env = {{"NEOLOG_NCCL_LIBRARY", nccl_},
           {"TMPDIR", dir_.path()},
           {"NEOLOG_FAKE_NCCL_SCRIPT", nccl_script}};
  }
  auto spawned = Subprocess::Spawn({.argv = argv,
                                    .env = env,
                                    .stdout_to = OutputTo::Null(),
                                    .stderr_to = OutputTo::File(dir_.File(name + ".log"))});
  Check(spawned.status(), "starting a worker");
  workers_[index] = std::move(spawned).value();
}

void TeamCluster::SignalWorker(int index, int signal) { kill(WorkerPid(index), signal); }

void TeamCluster::KillWorker(int index) { workers_.erase(index); }

bool TeamCluster::WorkerRuns(int index) {
  return workers_.contains(index) && kill(WorkerPid(index), 0) == 0;
}

std::string TeamCluster::WorkerLog(int index) const {
  return ReadFileOrDie(dir_.File(fmt::format("w{}.log", index)));
}
std::string TeamCluster::CoordinatorLog() const {
  return ReadFileOrDie(dir_.File("coordinator.log"));
}

std::string TeamCluster::Target() const { return "unix:" + dir_.File("c") + "/coordinator.sock"; }

v1::RunSpec TeamCluster::Spec(const std::string& name, uint32_t steps, uint32_t batch,
                              uint32_t workers) const {
  v1::RunSpec spec = FakeRunSpec(name, steps, batch);
  spec.mutable_training()->set_reduce(reduce_);
  spec.mutable_model()->set_fingerprint("fingerprint");
  spec.mutable_model()->add_text_widths(16);
  spec.mutable_data()->set_images("pictures");
  spec.mutable_data()->add_templates("a photo of zesko");
  spec.mutable_checkpoint()->set_log_dir(dir_.File("out-" + name));
  spec.mutable_resources()->set_workers(workers);
  spec.mutable_data()->clear_samples();
  for (const char* picture : {"one", "two", "three"}) {
    spec.mutable_data()->add_samples()->set_image_digest(Sha256Hex(picture));
  }
  FillDefaults(spec);
  return spec;
}

std::string TeamCluster::Submit(const std::string& name, uint32_t steps, uint32_t batch,
                                uint32_t workers) {
  if (!Wait([&] {
        GrpcBlobStore blobs(watch_.channel());
        for (const char* picture : {"one", "two", "three"}) {
          if (!blobs.Put(picture).ok()) return false;
        }
        return true;
      })) {
    throw std::runtime_error("the coordinator does not answer:\n" + CoordinatorLog());
  }
  v1::SubmitRunRequest request;
  *request.mutable_spec() = Spec(name, steps, batch, workers);
  v1::SubmitRunResponse response;
  grpc::ClientContext context;
  ClusterWatch::Prepare(context);
  Check(FromGrpc(watch_.control().SubmitRun(&context, request, &response)), "submitting");
  return response.run().run_id();
}

void TeamCluster::Pause(const std::string& run) {
  v1::PauseRunRequest request;
  request.set_run_id(run);
  v1::PauseRunResponse response;
  grpc::ClientContext context;
  ClusterWatch::Prepare(context);
  Check(FromGrpc(watch_.control().PauseRun(&context, request, &response)), "pausing");
}

void TeamCluster::Resume(const std::string& run, uint32_t workers) {
  v1::ResumeRunRequest request;
  request.set_run_id(run);
  request.set_workers(workers);
  v1::ResumeRunResponse response;
  grpc::ClientContext context;
  ClusterWatch::Prepare(context);
  Check(FromGrpc(watch_.control().ResumeRun(&context, request, &response)), "resuming");
}

bool TeamCluster::WaitCompleted(const std::string& run) {
  return Wait([&] { return Info(run).state() == v1::RUN_STATE_COMPLETED; });
}

Records TeamCluster::Journal() { return ReadJournal(dir_.File("c") + "/journal.db"); }

}  // namespace neolog::testing
