#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/mutex.h"
#include "worker/collective/link.h"

namespace neolog::collective {

/// Where the members of in-process teams meet: one for all the workers (threads) of a test or a
/// process. Any thread. It keeps the fences of the real thing: a member that went on to a later
/// roster ends those who still use an older one, and members that disagree about a roster's
/// incarnations end each other with FailedPrecondition.
class InProcessHub {
 public:
  InProcessHub();
  ~InProcessHub();

 private:
  friend class InProcessLink;
  friend class InProcessLinks;
  /// One roster version of one team: an inbox for each rank, from the first that joins to the last
  /// that leaves.
  struct Group {
    std::vector<std::shared_ptr<Inbox>> inboxes;
    // by rank, with the roster that this rank was given
    std::vector<std::unique_ptr<v1::Roster>> joined;
    std::vector<std::string> worker_ids;
    int left = 0;
  };
  using Key = std::pair<std::string, uint64_t>;  // team, version

  Mutex mutex_;
  std::map<Key, std::shared_ptr<Group>> groups_ GUARDED_BY(mutex_);
  /// By team and worker id: the last roster version joined.
  std::map<std::pair<std::string, std::string>, uint64_t> latest_ GUARDED_BY(mutex_);
};

/// Links among threads that share `hub`, which must outlive them and the factory.
class InProcessLinks : public LinkFactory {
 public:
  explicit InProcessLinks(InProcessHub* hub) : hub_(hub) {}
  absl::StatusOr<std::unique_ptr<Link>> Connect(const v1::Roster& roster,
                                                const v1::WorkerIdentity& self) override;

 private:
  InProcessHub* const hub_;
};

}  // namespace neolog::collective
