#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <iostream>

#include "tests/judge/report.h"

namespace {

using neolog::judge::Row;

struct Options {
  std::string weights;
  std::string expect;
  std::vector<std::vector<std::string>> rows;
  std::string grid;
  std::string title;
  bool json = false;
};

absl::Status Run(const Options& options) {
  ASSIGN_OR_RETURN(const auto judge, neolog::judge::Judge::Load(options.weights));
  ASSIGN_OR_RETURN(const auto expected, judge->ParseExpectation(options.expect));
  std::vector<Row> rows;
  for (const std::vector<std::string>& row : options.rows) {
    ASSIGN_OR_RETURN(rows.emplace_back(), neolog::judge::JudgeRow(*judge, expected, row.front(),
                                                                  {row.begin() + 1, row.end()}));
  }
  if (!options.grid.empty()) {
    const std::string title = options.title.empty() ? options.expect : options.title;
    RETURN_IF_ERROR(neolog::judge::WritePng(neolog::judge::Grid(title, rows), options.grid));
  }
  if (options.json) {
    std::cout << neolog::judge::ReportJson(expected, rows) << "\n";
    return absl::OkStatus();
  }
  for (const Row& row : rows) {
    std::cout << fmt::format("{}: {} of {} show a {}\n", row.label, row.right(),
                             row.pictures.size(), options.expect);
    for (const auto& judged : row.pictures) {
      std::cout << fmt::format("  {} {}: {}\n", judged.right ? "yes" : "no ", judged.file,
                               neolog::judge::Describe(judged.verdict));
    }
  }
  return absl::OkStatus();
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app(
      "Says what pictures of the demo's world show, and whether that is what was expected.");
  app.add_option("--weights", options.weights, "judge.safetensors")->required();
  app.add_option("--expect", options.expect,
                 "what they should show, such as 'purple dotted triangle'")
      ->required();
  app.add_option("--row", options.rows,
                 "a label, then PNG files or folders of them; several rows may be given")
      ->required()
      ->expected(2, -1);
  app.add_option("--grid", options.grid, "a PNG to write with all rows in it");
  app.add_option("--title", options.title, "what stands above the grid");
  app.add_flag("--json", options.json, "print one JSON object");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const absl::Status status = Run(options);
  if (status.ok()) return 0;
  std::cerr << "neolog-judge: " << status.message() << "\n";
  return 1;
}
