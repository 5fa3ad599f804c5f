#pragma once

#include <string>

#include "coordinator/core/state.h"

namespace neolog::coordinator {

/// The numeric profile of a run on workers like this one: what the spec says (precision, threads,
/// microbatch) and what the worker is (instruction set, libtorch build, device), except under
/// training.reduce: fast, whose teams may mix workers: then that stays empty. The layout is
/// "nchw" in this version. The attention kernel stays empty: workers choose it from the resolution
/// and the model's files, which the coordinator does not open, the same way everywhere
/// (worker/train/pack_profile.h).
v1::NumericProfile ResolveProfile(const v1::RunSpec& spec, const v1::WorkerCapabilities& worker);

/// Whether a worker computes the bits of a profile. Empty: yes; else why not and what to do, for
/// status and logs.
std::string WhyNot(const v1::NumericProfile& profile, const v1::WorkerCapabilities& worker);

/// Whether a worker can take a run at all: by the run's profile when it has one, by its spec
/// otherwise. Empty: yes.
std::string WhyNot(const Run& run, const v1::WorkerCapabilities& worker);

/// The same for a worker in the books, which may also have shown that it cannot train this run
/// (failures.h).
std::string WhyNot(const Run& run, const Worker& worker);

/// Equal profiles, field by field.
bool SameProfile(const v1::NumericProfile& a, const v1::NumericProfile& b);

}  // namespace neolog::coordinator
