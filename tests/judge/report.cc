#include "tests/judge/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

namespace neolog::judge {
namespace {

constexpr Colour kPaper = {250, 250, 248};
constexpr Colour kInk = {40, 40, 44};
constexpr Colour kRight = {46, 160, 67};
constexpr Colour kWrong = {207, 63, 55};
constexpr int kScale = 3;   // of the pictures
constexpr int kLetter = 2;  // of the text
constexpr int kFrame = 3;
constexpr int kGap = 8;
constexpr int kLineHeight = 10 * kLetter;

absl::StatusOr<std::vector<std::string>> FilesOf(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_directory(path, error)) return std::vector<std::string>{path};
  std::vector<std::string> files;
  for (std::filesystem::directory_iterator it(path, error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().extension() == ".png") files.push_back(it->path().string());
  }
  if (error) return FailedPrecondition(fmt::format("'{}': {}", path, error.message()));
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

int Row::right() const {
  return static_cast<int>(
      std::count_if(pictures.begin(), pictures.end(), [](const Judged& j) { return j.right; }));
}

absl::StatusOr<Row> JudgeRow(const Judge& judge, const Verdict& expected, const std::string& label,
                             const std::vector<std::string>& paths) {
  Row row{label, {}};
  for (const std::string& path : paths) {
    ASSIGN_OR_RETURN(const std::vector<std::string> files, FilesOf(path));
    for (const std::string& file : files) {
      ASSIGN_OR_RETURN(Picture picture, ReadPng(file));
      if (picture.width != kSide || picture.height != kSide) {
        return InvalidArgument(fmt::format("'{}' has {} x {} pixels: the judge looks at {} x {}",
                                           file, picture.width, picture.height, kSide, kSide));
      }
      const Verdict verdict = judge.Look(picture.rgb);
      row.pictures.push_back({file, std::move(picture), verdict, Agrees(verdict, expected)});
    }
  }
  if (row.pictures.empty())
    return InvalidArgument(fmt::format(
        "the row '{}' has no pictures: expected PNG files, or a folder of them", label));
  return row;
}

Picture Grid(const std::string& title, const std::vector<Row>& rows) {
  size_t columns = 0;
  int left = 0;
  for (const Row& row : rows) {
    columns = std::max(columns, row.pictures.size());
    left = std::max({left, TextWidth(row.label, kLetter), TextWidth("00 of 00", kLetter)});
  }
  constexpr int kCell = kSide * kScale + 2 * kFrame + kGap;
  const int width = std::max(kGap + left + kGap + static_cast<int>(columns) * kCell,
                             TextWidth(title, kLetter) + 2 * kGap);
  Picture grid =
      Picture::Filled(width, kGap + kLineHeight + static_cast<int>(rows.size()) * kCell, kPaper);
  grid.Write(title, kGap, kGap, kLetter, kInk);
  int y = kGap + kLineHeight;
  for (const Row& row : rows) {
    grid.Write(row.label, kGap, y + kFrame, kLetter, kInk);
    grid.Write(fmt::format("{} of {}", row.right(), row.pictures.size()), kGap,
               y + kFrame + kLineHeight, kLetter, kInk);
    int x = kGap + left + kGap;
    for (const Judged& judged : row.pictures) {
      grid.Fill(x, y, kCell - kGap, kCell - kGap, judged.right ? kRight : kWrong);
      grid.Paste(judged.picture, x + kFrame, y + kFrame, kScale);
      x += kCell;
    }
    y += kCell;
  }
  return grid;
}

std::string ReportJson(const Verdict& expected, const std::vector<Row>& rows) {
  nlohmann::ordered_json report;
  report["expected"] = expected;
  report["rows"] = nlohmann::ordered_json::array();
  for (const Row& row : rows) {
    nlohmann::ordered_json pictures = nlohmann::ordered_json::array();
    for (const Judged& judged : row.pictures) {
      nlohmann::ordered_json picture = {{"file", judged.file}, {"right", judged.right}};
      for (const auto& [question, answer] : judged.verdict) picture[question] = answer;
      pictures.push_back(std::move(picture));
    }
    report["rows"].push_back(
        {{"label", row.label}, {"right", row.right()}, {"pictures", std::move(pictures)}});
  }
  return report.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace neolog::judge
