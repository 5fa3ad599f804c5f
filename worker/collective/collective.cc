#include "worker/collective/collective.h"

#include <fmt/format.h>

#include <numeric>

namespace neolog::collective {

absl::Status CheckGather(const Collective& team, std::span<const std::byte> send,
                         std::span<const size_t> sizes, std::span<const std::byte> receive) {
  const size_t total = std::accumulate(sizes.begin(), sizes.end(), size_t{0});
  if (sizes.size() == static_cast<size_t>(team.size()) && sizes[team.rank()] == send.size() &&
      total == receive.size()) {
    return absl::OkStatus();
  }
  return Internal(fmt::format(
      "gather on rank {} of {}: {} sizes adding to {} bytes do not fit a send of {} and "
      "a receive of {} bytes",
      team.rank(), team.size(), sizes.size(), total, send.size(), receive.size()));
}

absl::Status CheckRoot(const Collective& team, int root) {
  if (root >= 0 && root < team.size()) return absl::OkStatus();
  return Internal(fmt::format("broadcast from rank {} in a team of {}", root, team.size()));
}

}  // namespace neolog::collective
