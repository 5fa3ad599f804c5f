#include "coordinator/cli/console.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

namespace neolog::cli {
namespace {

int TerminalWidth() {
  winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

}  // namespace

std::optional<std::string> ProcessEnv(std::string_view name) {
  const char* value = std::getenv(std::string(name).c_str());
  if (value == nullptr) return std::nullopt;
  return std::string(value);
}

bool UseColor(ColorMode mode, bool is_tty, const GetEnv& env) {
  if (mode != ColorMode::kAuto) return mode == ColorMode::kAlways;
  const std::string forced = env("CLICOLOR_FORCE").value_or("");
  if (!forced.empty() && forced != "0") return true;
  return is_tty && env("TERM").value_or("") != "dumb" && env("NO_COLOR").value_or("").empty();
}

Console::Options Console::FromProcess() {
  Options options;
  options.out = &std::cout;
  options.err = &std::cerr;
  options.in = &std::cin;
  options.out_is_tty = isatty(STDOUT_FILENO) == 1;
  options.err_is_tty = isatty(STDERR_FILENO) == 1;
  options.in_is_tty = isatty(STDIN_FILENO) == 1;
  options.width = TerminalWidth;
  return options;
}

void Console::Print(std::string_view text) {
  EndRedraw();
  *options_.out << text << std::flush;
}

void Console::Note(std::string_view line) {
  if (options_.verbosity < 0) return;
  EndRedraw();
  *options_.err << line << std::endl;
}

void Console::Detail(std::string_view line) {
  if (options_.verbosity > 0) Note(line);
}

void Console::Warn(std::string_view line) {
  EndRedraw();
  *options_.err << Paint("warning:", kYellow, false) << ' ' << line << std::endl;
}

void Console::Error(std::string_view line) {
  EndRedraw();
  *options_.err << Paint("error:", kRed, false) << ' ' << line << std::endl;
}

void Console::Redraw(std::string_view line) {
  if (options_.verbosity < 0) return;
  *options_.err << '\r' << line << "\x1b[K" << std::flush;
  redrawn_ = true;
}

void Console::EndRedraw() {
  if (redrawn_) *options_.err << std::endl;
  redrawn_ = false;
}

void Console::ClearScreen() {
  if (options_.out_is_tty) *options_.out << "\x1b[H\x1b[2J";
}

bool Console::Confirm(std::string_view question) {
  if (!options_.in_is_tty) return false;
  EndRedraw();
  *options_.err << question << " [y/N] " << std::flush;
  std::string answer;
  if (!std::getline(*options_.in, answer)) {
    options_.in->clear();
    *options_.err << std::endl;
    return false;
  }
  return answer == "y" || answer == "Y" || answer == "yes" || answer == "Yes";
}

std::string Console::Paint(std::string_view text, std::string_view ansi, bool for_out) const {
  if (!(for_out ? options_.color_out : options_.color_err)) return std::string(text);
  return fmt::format("\x1b[{}m{}\x1b[0m", ansi, text);
}

}  // namespace neolog::cli
