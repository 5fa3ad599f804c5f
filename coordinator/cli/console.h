#pragma once

#include <functional>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>

namespace neolog::cli {

/// Reads an environment variable; nothing when it is not set.
using GetEnv = std::function<std::optional<std::string>(std::string_view name)>;

/// The process's own environment.
std::optional<std::string> ProcessEnv(std::string_view name);

/// What --color takes.
enum class ColorMode { kAuto, kAlways, kNever };

/// Whether a stream gets colour: --color always/never decides; else CLICOLOR_FORCE (set and not
/// "0") forces it, and otherwise only a terminal whose TERM is not "dumb" gets it, and only when
/// NO_COLOR is empty.
bool UseColor(ColorMode mode, bool is_tty, const GetEnv& env);

/// The streams and habits of one `neolog` process: results go to `out`; progress, warnings and
/// questions to `err`. Everything outside this class can be tested with string streams.
class Console {
 public:
  struct Options {
    std::ostream* out = nullptr;
    std::ostream* err = nullptr;
    std::istream* in = nullptr;
    bool out_is_tty = false;
    bool err_is_tty = false;
    bool in_is_tty = false;
    /// Columns of the terminal now; asked before every redraw.
    std::function<int()> width = [] { return 80; };
    bool color_out = false;
    bool color_err = false;
    /// -1: errors only (-q); 0: normal; 1: also what is being done (-v).
    int verbosity = 0;
  };
  explicit Console(Options options) : options_(std::move(options)) {}

  /// The process's own streams and terminal.
  static Options FromProcess();

  /// Colours and verbosity are known only after the command line was read.
  Options& options() { return options_; }

  /// A result, as it is.
  void Print(std::string_view text);
  /// A line for people on the error stream; silent under -q.
  void Note(std::string_view line);
  /// A line that only -v shows.
  void Detail(std::string_view line);
  /// "warning: …"; shown even under -q.
  void Warn(std::string_view line);
  /// "error: …".
  void Error(std::string_view line);

  /// Draws `line` over the last one drawn (terminals only). Any other output first ends it.
  void Redraw(std::string_view line);
  /// Ends a redrawn line, if there is one, so that it stays on the screen.
  void EndRedraw();
  /// Clears the whole screen (terminals only), for --watch.
  void ClearScreen();

  /// Asks a yes/no question; false when standard input is not a terminal or the answer is not yes.
  bool Confirm(std::string_view question);

  /// `text` in a colour where the error stream has colours.
  std::string Paint(std::string_view text, std::string_view ansi, bool for_out) const;

 private:
  Options options_;
  bool redrawn_ = false;
};

/// ANSI codes for Paint.
inline constexpr std::string_view kRed = "31";
inline constexpr std::string_view kGreen = "32";
inline constexpr std::string_view kYellow = "33";
inline constexpr std::string_view kCyan = "36";
inline constexpr std::string_view kBold = "1";

}  // namespace neolog::cli
