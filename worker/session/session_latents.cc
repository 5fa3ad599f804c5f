#include <optional>

#include "worker/session/session_core.h"

namespace neolog::session {

std::optional<std::string> Session::Core::KnownDigest(const std::string& key) const {
  MutexLock lock(mutex_);
  const auto it = digests_.find(key);
  if (it == digests_.end()) return std::nullopt;
  return it->second;
}

// Without a digest it asks whether anybody encoded this picture before; with one, it offers this
// worker's.
void Session::Core::SayLatent(const std::string& key) {
  v1::WorkerMessage message;
  message.mutable_latent()->set_key(key);
  if (const auto own = encoded_.find(key); own != encoded_.end())
    message.mutable_latent()->set_blob_digest(own->second.digest);
  Send(std::move(message));
}

// The coordinator's word about `key`: the digest, or empty when nobody has it. `chosen`: waits for
// a digest.
absl::StatusOr<std::string> Session::Core::LatentAnswer(const std::string& key, bool chosen) {
  SteadyTime said = with_.clock->SteadyNow();
  for (;;) {
    const std::optional<std::string> digest = KnownDigest(key);
    if (digest.has_value() && !(chosen && digest->empty())) return *digest;
    RETURN_IF_ERROR(WaitForNews());
    const SteadyTime now = with_.clock->SteadyNow();
    if (now - said < options_.retry_interval) continue;
    said = now;
    SayLatent(key);
  }
}

absl::Status Session::Core::SetLatents(const std::vector<std::string>& keys) {
  if (keys.empty()) return absl::OkStatus();
  SetPhase("encoding");
  // Everything is asked before anything is waited for.
  for (const std::string& key : keys) {
    if (!KnownDigest(key).has_value()) SayLatent(key);
  }
  for (const std::string& key : keys) {
    ASSIGN_OR_RETURN(const std::string digest, LatentAnswer(key, /*chosen=*/false));
    if (!digest.empty()) continue;
    if (!encoded_.contains(key)) {
      ASSIGN_OR_RETURN(std::string bytes,
                       Persist([&] { return with_.trainer->EncodeLatent(key); }));
      ASSIGN_OR_RETURN(std::string own, Persist([&] { return with_.blobs->Put(bytes); }));
      encoded_[key] = {std::move(own), std::move(bytes)};
      ++progress_count_;
    }
    SayLatent(key);
  }
  // The first result that the coordinator journaled is everybody's, whoever encoded it.
  for (const std::string& key : keys) {
    ASSIGN_OR_RETURN(const std::string digest, LatentAnswer(key, /*chosen=*/true));
    const auto own = encoded_.find(key);
    std::string bytes;
    if (own != encoded_.end() && own->second.digest == digest) {
      bytes = std::move(own->second.bytes);
    } else {
      ASSIGN_OR_RETURN(bytes, Persist([&] { return with_.blobs->Get(digest); }));
    }
    if (own != encoded_.end()) encoded_.erase(own);
    RETURN_IF_ERROR_WITH(with_.trainer->SetLatent(key, bytes), "posterior " + digest);
    ++progress_count_;
  }
  return absl::OkStatus();
}

}  // namespace neolog::session
