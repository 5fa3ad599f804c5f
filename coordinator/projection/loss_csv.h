#pragma once

#include <cstdint>
#include <string>

#include "neolog/v1/run.pb.h"
#include "neolog/v1/run_spec.pb.h"

namespace neolog::coordinator {

/// The heading line of textual_inversion_loss.csv: A1111's five columns, then ours.
std::string LossCsvHeader();

/// One step's line. epoch and epoch_step count from 0 as in A1111, where an epoch is
/// max(1, pictures / (batch_size * gradient_accumulation)) steps; loss has seven decimals as there.
std::string LossCsvLine(const v1::RunSpec& spec, const v1::StepRecord& record);

/// The heading line of validation_loss.csv, and one measurement's line: after `step` steps, columns
/// as in LossCsvLine.
std::string ValidationCsvHeader();
std::string ValidationCsvLine(const v1::RunSpec& spec, uint64_t step, double loss);

}  // namespace neolog::coordinator
