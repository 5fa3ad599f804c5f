#pragma once

#include <string>
#include <string_view>

#include "common/base/status.h"
#include "neolog/v1/run.pb.h"
#include "neolog/v1/run_spec.pb.h"

namespace neolog::coordinator {

/// The bytes of an embedding file with the rows of `state`, named and described from the spec;
/// `format` is one of
/// `checkpoint.formats`; a picture is a plain card. The same state gives the same bytes.
/// InvalidArgument when the state's sizes do not fit its bytes.
absl::StatusOr<std::string> MakeEmbeddingFile(const v1::RunSpec& spec, const v1::TrainState& state,
                                              std::string_view format);

}  // namespace neolog::coordinator
