#pragma once

#include <functional>
#include <string>

#include "absl/time/time.h"

// Waiting for what other processes do.
namespace neolog::cli {

/// Waits until the file exists, woken by the file system (inotify; a shared file system that wakes
/// nobody is looked at once a second). False after `timeout`, and as soon as its folder is gone.
bool WaitForFile(const std::string& path, absl::Duration timeout);

/// The one place of the program that polls: asks `done` at once and then every `pause`, until it
/// says true or `timeout` is over; true when it did. Only for what no descriptor tells: a socket
/// wakes nobody when it begins to listen, and joining workers are to be seen in two processes at
/// once, the coordinator's status and the supervisor's children.
bool PollUntil(const std::function<bool()>& done, absl::Duration pause, absl::Duration timeout);

}  // namespace neolog::cli
