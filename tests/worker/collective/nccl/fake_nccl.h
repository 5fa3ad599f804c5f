#pragma once

namespace neolog::collective::nccl {

/// What a test tells the fake libnccl (fake_nccl.cc) to do, by its exported function
/// `neologFakeNcclScript` or, for a process of its own, by the environment variable
/// NEOLOG_FAKE_NCCL_SCRIPT: faults separated by spaces, each `what@rank` or `what@rank#n`, where n
/// counts that rank's operations from 0. An empty script is a library without faults.
///
///   version=22805     the library says that it is this version
///   init_hang@1       rank 1 never comes to the communicator
///   init_error@1      rank 1's initialisation fails
///   launch_error@1#2  the call of the operation fails at once
///   system_error@1#2  the operation fails while it is under way
///   remote_error@1#2  likewise, as NCCL does when it loses a peer over a network
///   cuda_error@1#2    the device fails while the operation is under way
///   never_ends@1#2    the operation does not end until it is aborted
///   die@1#2           the process of rank 1 is killed inside the operation
///   abort_hang@1      an abort does not return
using ScriptFunction = void (*)(const char* script);
/// Lets every hanging abort return (`neologFakeNcclRelease`).
using ReleaseFunction = void (*)();
/// How many communicators, streams, events and allocations are there (`neologFakeNcclLive`).
using LiveFunction = int (*)();

}  // namespace neolog::collective::nccl
