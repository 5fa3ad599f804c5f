#pragma once

#include <optional>
#include <string>

#include "common/base/status.h"

namespace neolog {

/// The folder where the hub's client keeps what it downloaded: HF_HUB_CACHE, else HF_HOME/hub, else
/// XDG_CACHE_HOME/huggingface/hub, else ~/.cache/huggingface/hub. Empty when none is known.
std::string HubCacheFolder();

/// Whether a text looks like the name of a model on the hub: "owner/name" of letters, digits, '-',
/// '_' and '.'.
bool IsHubName(const std::string& text);

/// The local copy of a model on the hub: the snapshot that refs/main names. Nothing is downloaded.
/// NotFound says where was looked and how to get the model.
absl::StatusOr<std::string> FindInHubCache(const std::string& name, const std::string& cache);

}  // namespace neolog
