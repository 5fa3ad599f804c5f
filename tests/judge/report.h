#pragma once

#include <string>
#include <vector>

#include "tests/judge/judge.h"
#include "tests/judge/picture.h"

namespace neolog::judge {

/// One picture, judged.
struct Judged {
  std::string file;
  Picture picture;
  Verdict verdict;
  bool right = false;
};

/// Pictures that belong together: before, after.
struct Row {
  std::string label;
  std::vector<Judged> pictures;
  int right() const;
};

/// Judges the PNGs of a row. Each path is a file, or a folder whose PNGs are taken in the order of
/// their names. Errors name the file; InvalidArgument when a row has no pictures or one is not 64
/// x 64.
absl::StatusOr<Row> JudgeRow(const Judge& judge, const Verdict& expected, const std::string& label,
                             const std::vector<std::string>& paths);

/// All rows in one picture: label and score at the left, each picture three times as large, framed
/// green where it is right and red where it is not.
Picture Grid(const std::string& title, const std::vector<Row>& rows);

/// {"expected": {...}, "rows": [{"label", "right", "pictures": [{"file", "right", "shape",
/// ...}]}]}, for scripts.
std::string ReportJson(const Verdict& expected, const std::vector<Row>& rows);

}  // namespace neolog::judge
