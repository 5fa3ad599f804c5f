#include "coordinator/cli/app.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <vector>

#include "common/base/version.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/suggest.h"

namespace neolog::cli {
namespace {

constexpr char kShortHelp[] =
    "neolog teaches a frozen Stable Diffusion model new words.\n"
    "\n"
    "  neolog train FILE       teach the word that FILE describes, and follow it\n"
    "  neolog status           what runs, and on which workers\n"
    "  neolog config explain   every setting of a run file\n"
    "  neolog doctor           check this machine\n"
    "\n"
    "neolog --help lists everything; neolog COMMAND --help explains one command.\n";

constexpr char kFooter[] =
    "Examples:\n"
    "  neolog train zesko.yaml --set training.steps=500\n"
    "  neolog status --watch\n"
    "\n"
    "Exit codes: 0 ok, 1 unexpected, 2 usage or invalid input, 3 coordinator unreachable, 4 not "
    "found or wrong state,\n"
    "  5 the run failed or was stopped, 6 wait timed out, 7 not allowed, 75 paused: try again, 130 "
    "Ctrl-C, 143 terminated.\n"
    "Environment: NEOLOG_COORDINATOR, NEOLOG_STATE_DIR, NO_COLOR, CLICOLOR_FORCE.";

/// Everything the command line can set.
struct Parsed {
  std::string coordinator;
  std::string color = "auto";
  bool quiet = false;
  bool verbose = false;
  bool show_version = false;

  TrainOptions train;
  UpOptions up;
  SuperviseOptions supervise;
  ListOptions list;
  WaitOptions wait;
  LogsOptions logs;
  ResumeOptions resume;
  ConfigOptions config;
  TokenizeOptions tokenize;
  ModelInfoOptions model;
  EmbeddingInfoOptions embedding_info;
  EmbeddingConvertOptions embedding_convert;
  std::vector<std::string> embedding_files;
  std::string run;
  std::string key;
  std::string output = "table";
  bool json = false;

  std::function<ExitCode(Context&)> command;
};

const std::map<std::string, OutputFormat>& Formats() {
  static const auto* formats =
      new std::map<std::string, OutputFormat>{{"table", OutputFormat::kTable},
                                              {"wide", OutputFormat::kWide},
                                              {"json", OutputFormat::kJson},
                                              {"yaml", OutputFormat::kYaml},
                                              {"name", OutputFormat::kName}};
  return *formats;
}

void AddOutput(CLI::App* command, Parsed& parsed, const std::vector<std::string>& formats) {
  command->add_option("-o,--output", parsed.output, "How to print")
      ->check(CLI::IsMember(formats))
      ->capture_default_str();
  command->add_flag("--json", parsed.json, "The same as -o json");
}

/// A subcommand that ends in `run`.
CLI::App* AddCommand(CLI::App& app, Parsed& parsed, const std::string& name,
                     const std::string& description, std::function<ExitCode(Context&)> run,
                     const std::string& footer = "") {
  CLI::App* command = app.add_subcommand(name, description);
  command->fallthrough();
  if (!footer.empty()) command->footer(footer);
  command->callback([&parsed, run = std::move(run)] { parsed.command = run; });
  return command;
}

void AddRunCommands(CLI::App& app, Parsed& p) {
  CLI::App* train = AddCommand(
      app, p, "train", "Teach the word that a run file describes, and follow it to the end",
      [&p](Context& c) { return TrainCommand(c, p.train); },
      "Everything is checked before any work starts, and all problems are printed at once. Without "
      "--coordinator a local\n"
      "cluster is started, and leaves by itself when no run and no client is left. Ctrl-C leaves "
      "the run running.\n"
      "Example: neolog train zesko.yaml --workers 2 --set training.steps=500 --set "
      "training.seed=7");
  train
      ->add_option("FILE", p.train.file,
                   "The run file (YAML); `neolog config explain` lists its settings")
      ->required();
  train
      ->add_option("--workers", p.train.workers,
                   "Workers that train together (default: resources.workers, or all)")
      ->check(CLI::Range(1u, 1024u));
  train->add_option("--set", p.train.settings, "Change a setting: a.b=c (repeatable)")
      ->allow_extra_args(false);
  train->add_flag("--detach", p.train.detach, "Return as soon as the run is accepted");
  train->add_flag("--dry-run", p.train.dry_run, "Check everything, start nothing");
  train->add_option("--idempotency-key", p.train.idempotency_key,
                    "The same key gives the same run, not a second one");

  CLI::App* wait =
      AddCommand(app, p, "wait", "Wait until a run is at rest; the exit code says how it ended",
                 [&p](Context& c) { return WaitCommand(c, p.wait); });
  wait->add_option("RUN", p.wait.run, "The run's id or name")->required();
  wait->add_option("--timeout", p.wait.timeout_seconds,
                   "Give up after this many seconds (exit code 6)")
      ->check(CLI::NonNegativeNumber);

  CLI::App* logs =
      AddCommand(app, p, "logs", "The steps of a run, or without RUN the local cluster's own logs",
                 [&p](Context& c) { return LogsCommand(c, p.logs); });
  logs->add_option("RUN", p.logs.run, "The run's id or name");
  logs->add_flag("-f,--follow", p.logs.follow,
                 "Follow the run (the newest one without RUN) to its end");
  logs->add_option("--tail", p.logs.tail, "Lines to print")
      ->capture_default_str()
      ->check(CLI::Range(0u, 1000000u));

  CLI::App* stop =
      AddCommand(app, p, "stop", "End a run at its next step; its state and embedding are kept",
                 [&p](Context& c) { return StopCommand(c, p.run); });
  stop->add_option("RUN", p.run, "The run's id or name")->required();
  CLI::App* pause = AddCommand(app, p, "pause", "Pause a run at its next step",
                               [&p](Context& c) { return PauseCommand(c, p.run); });
  pause->add_option("RUN", p.run, "The run's id or name")->required();

  CLI::App* resume =
      AddCommand(app, p, "resume", "Go on with a paused, stopped or failed run, and follow it",
                 [&p](Context& c) { return ResumeCommand(c, p.resume); });
  resume->add_option("RUN", p.resume.run, "The run's id or name")->required();
  resume
      ->add_option("--workers", p.resume.workers,
                   "Workers from now on; any number gives the same bytes")
      ->check(CLI::Range(1u, 1024u));
  resume->add_flag("--detach", p.resume.detach, "Return at once");
}

void AddClusterCommands(CLI::App& app, Parsed& p) {
  CLI::App* up = AddCommand(app, p, "up", "Start a local cluster that stays until `neolog down`",
                            [&p](Context& c) { return UpCommand(c, p.up); });
  up->add_option("--workers", p.up.workers,
                 "Workers (default: one per share of --threads cores, or per GPU)")
      ->check(CLI::Range(1u, 1024u));
  up->add_option("--threads", p.up.threads, "CPU threads of each worker")
      ->capture_default_str()
      ->check(CLI::Range(1u, 1024u));
  up->add_option("--device", p.up.device, "What workers compute on")
      ->capture_default_str()
      ->check(CLI::IsMember({"cpu", "cuda"}));
  AddCommand(app, p, "down", "Stop the local cluster; unfinished runs go on with the next `up`",
             [](Context& c) { return DownCommand(c); });

  CLI::App* status =
      AddCommand(app, p, "status", "Runs and workers, with the reason for where they stand",
                 [&p](Context& c) { return StatusCommand(c, p.list); });
  AddOutput(status, p, {"table", "wide", "json", "yaml", "name"});
  status->add_flag("--watch", p.list.watch, "Print again every second");
  status->add_flag("!--no-headers", p.list.headers, "Leave out the header lines");
  CLI::App* list = AddCommand(app, p, "list", "All runs, newest first",
                              [&p](Context& c) { return ListCommand(c, p.list); });
  AddOutput(list, p, {"table", "wide", "json", "yaml", "name"});
  list->add_flag("!--no-headers", p.list.headers, "Leave out the header line");

  CLI::App* supervise = AddCommand(app, p, "supervise", "Look after a local cluster",
                                   [&p](Context& c) { return SuperviseCommand(c, p.supervise); });
  supervise->add_flag("--on-demand", p.supervise.on_demand,
                      "Leave when no run and no client is left");
  supervise->add_option("--linger", p.supervise.linger_seconds, "Seconds to wait before that")
      ->check(CLI::NonNegativeNumber);
  supervise->group("");
}

void AddEmbeddingCommands(CLI::App& app, Parsed& p) {
  CLI::App* embedding = app.add_subcommand("embedding", "Show, convert or check embedding files");
  embedding->fallthrough();
  embedding->require_subcommand(1);
  CLI::App* info =
      AddCommand(*embedding, p, "info", "What an embedding file holds",
                 [&p](Context& c) { return EmbeddingInfoCommand(c, p.embedding_info); });
  info->add_option("FILE", p.embedding_info.file, "The embedding (.pt, .bin, .safetensors, .png)")
      ->required();
  info->add_flag("--json", p.embedding_info.json, "Print JSON");
  info->add_option("--model", p.embedding_info.model,
                   "Also show the nearest tokens of this model, a folder or a file");
  CLI::App* convert = AddCommand(
      *embedding, p, "convert", "Write an embedding in another format, every value bit for bit",
      [&p](Context& c) { return EmbeddingConvertCommand(c, p.embedding_convert); },
      "OUT's extension chooses the container, and without --format the format: .pt a1111, .png "
      "png, .bin and\n"
      ".safetensors diffusers; sdxl for rows of two text encoders.\n"
      "Example: neolog embedding convert zesko.pt zesko.safetensors --format kohya");
  convert->add_option("IN", p.embedding_convert.in, "The embedding to read")->required();
  convert->add_option("OUT", p.embedding_convert.out, "The file to write")->required();
  convert->add_option("--format", p.embedding_convert.format, "How to write it")
      ->check(CLI::IsMember({"a1111", "png", "diffusers", "kohya", "sdxl", "onetrainer"}));
  convert->add_option("--name", p.embedding_convert.name,
                      "The word to store (default: the one in IN, else IN's file name)");
  convert->add_option("--picture", p.embedding_convert.picture,
                      "For png: the picture to carry the embedding, a PNG file");
  convert->add_flag("--force", p.embedding_convert.force, "Replace OUT if it is there");
  CLI::App* verify =
      AddCommand(*embedding, p, "verify", "Read embedding files; exit code 2 if one is bad",
                 [&p](Context& c) { return EmbeddingVerifyCommand(c, p.embedding_files); });
  verify->add_option("FILE", p.embedding_files, "The embeddings")->required();
}

void AddOtherCommands(CLI::App& app, Parsed& p) {
  CLI::App* config = app.add_subcommand("config", "Check, explain or show run files");
  config->fallthrough();
  config->require_subcommand(1);
  CLI::App* validate =
      AddCommand(*config, p, "validate", "Check a run file; every problem is printed",
                 [&p](Context& c) { return ConfigValidateCommand(c, p.config); });
  CLI::App* show = AddCommand(*config, p, "show", "The run file with every default filled in",
                              [&p](Context& c) { return ConfigShowCommand(c, p.config); });
  show->add_flag("--origin", p.config.origin, "Say where each value comes from");
  for (CLI::App* command : {validate, show}) {
    command->add_option("FILE", p.config.file, "The run file (YAML)")->required();
    command->add_option("--set", p.config.settings, "Change a setting: a.b=c (repeatable)")
        ->allow_extra_args(false);
  }
  CLI::App* explain =
      AddCommand(*config, p, "explain", "What a setting does, its unit, range and default",
                 [&p](Context& c) { return ConfigExplainCommand(c, p.key); });
  explain->add_option("KEY", p.key,
                      "A setting such as training.learning_rate, or a section; all without it");

  CLI::App* doctor = AddCommand(
      app, p, "doctor", "Check programs, folders, sockets, disk and devices of this machine",
      [&p](Context& c) { return DoctorCommand(c, Formats().at(p.output)); });
  AddOutput(doctor, p, {"table", "json"});

  CLI::App* tokenize = AddCommand(
      app, p, "tokenize", "Token ids of prompts: one prompt a line in, one JSON array a line out",
      [&p](Context& c) { return TokenizeCommand(c, p.tokenize); });
  tokenize
      ->add_option("--model", p.tokenize.model, "A model, or a diffusers folder's tokenizer folder")
      ->required();
  tokenize->add_flag("--json", p.tokenize.json,
                     "The default, and the only output: one JSON array a line");
  tokenize->add_flag("--padded", p.tokenize.padded,
                     "As the text encoder reads them: cut or in chunks, and padded to 77 ids each");
  tokenize
      ->add_option("--long-prompts", p.tokenize.long_prompts,
                   "With --padded, as text.long_prompts in a run: truncate or chunk [truncate]")
      ->check(CLI::IsMember({"truncate", "chunk"}))
      ->needs("--padded");
  CLI::App* model = app.add_subcommand("model", "Look at models");
  model->fallthrough();
  model->require_subcommand(1);
  CLI::App* info = AddCommand(
      *model, p, "info",
      "What a model is: family, prediction, sizes, parameters, hashes and the memory it needs",
      [&p](Context& c) { return ModelInfoCommand(c, p.model); });
  info->add_option("PATH", p.model.path,
                   "A diffusers folder, a single file (.safetensors, .ckpt), or the name of a "
                   "model in the hub's local cache (owner/name)")
      ->required();
  info->add_option("--vae", p.model.vae, "A VAE in place of the model's own");
  info->add_option("--prediction", p.model.prediction, "What the UNet predicts, if you know better")
      ->check(CLI::IsMember({"epsilon", "v_prediction"}));
  info->add_flag("--json", p.model.json, "One JSON object, all in bytes");
  info->add_option("--resolution", p.model.resolution,
                   "Side of the pictures that memory is estimated for [the model's own]")
      ->check(CLI::Range(16, 8192));
  info->add_flag("!--no-hashes", p.model.hashes,
                 "Do not read the whole of a single file for its hashes");
  AddCommand(app, p, "version", "The version of this program",
             [](Context& c) { return VersionCommand(c); });
}

void Build(CLI::App& app, Parsed& p) {
  app.footer(kFooter);
  app.fallthrough();
  app.require_subcommand(0, 1);
  app.add_option("--coordinator", p.coordinator,
                 "The coordinator's address, host:port or unix:PATH (env NEOLOG_COORDINATOR; "
                 "default: the local cluster)");
  app.add_option("--color", p.color, "When to use colour")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();
  app.add_flag("-q,--quiet", p.quiet, "Errors and results only");
  app.add_flag("-v,--verbose", p.verbose, "Say more about what is done");
  app.add_flag("--version", p.show_version, "Print the version");
  AddRunCommands(app, p);
  AddClusterCommands(app, p);
  AddEmbeddingCommands(app, p);
  AddOtherCommands(app, p);
}

/// The innermost command that was named.
const CLI::App* Innermost(const CLI::App* app) {
  for (;;) {
    const auto named = app->get_subcommands();
    if (named.empty()) return app;
    app = named.front();
  }
}

std::vector<std::string> CommandNames(const CLI::App* app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app->get_subcommands([](const CLI::App*) { return true; })) {
    if (!command->get_group().empty()) names.push_back(command->get_name());
  }
  return names;
}

std::vector<std::string> OptionNames(const CLI::App* app) {
  std::vector<std::string> names;
  for (; app != nullptr; app = app->get_parent()) {
    for (const CLI::Option* option : app->get_options()) {
      for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    }
  }
  return names;
}

/// What CLI11 found wrong, in our words: an unknown word gets the nearest known one.
std::string Explain(const CLI::App& app, const CLI::ParseError& error) {
  const CLI::App* command = Innermost(&app);
  const std::string help =
      command == &app
          ? "neolog --help"
          : fmt::format(
                "neolog {}{} --help",
                command->get_parent() != &app ? command->get_parent()->get_name() + " " : "",
                command->get_name());
  std::string message = error.what();
  for (const std::string& word : app.remaining(true)) {
    const bool is_option = word.size() > 1 && word[0] == '-';
    const std::string bare = word.substr(0, word.find('='));
    const std::string nearest =
        Nearest(bare, is_option ? OptionNames(command) : CommandNames(command));
    const bool wants_command = !is_option && !CommandNames(command).empty();
    message = fmt::format("{} '{}'",
                          is_option       ? "unknown option"
                          : wants_command ? "unknown command"
                                          : "unexpected argument",
                          bare);
    if (!nearest.empty()) message += fmt::format(" (did you mean '{}'?)", nearest);
    break;
  }
  return fmt::format("{}; see `{}`", message, help);
}

}  // namespace

int RunApp(int argc, const char* const* argv, Context context) {
  Console& console = *context.console;
  Parsed parsed;
  CLI::App app("neolog teaches a frozen Stable Diffusion model new words.", "neolog");
  Build(app, parsed);
  if (argc <= 1) {
    *console.options().err << kShortHelp;
    return kExitUsage;
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const CLI::App* command = Innermost(&app);
    console.Print(command == &app
                      ? app.help()
                      : command->help(command->get_parent() == &app
                                          ? "neolog"
                                          : "neolog " + command->get_parent()->get_name()));
    return kExitOk;
  } catch (const CLI::ParseError& error) {
    console.options().color_err =
        UseColor(ColorMode::kAuto, console.options().err_is_tty, context.env);
    console.Error(Explain(app, error));
    return kExitUsage;
  }
  const ColorMode color = parsed.color == "always"  ? ColorMode::kAlways
                          : parsed.color == "never" ? ColorMode::kNever
                                                    : ColorMode::kAuto;
  console.options().color_out = UseColor(color, console.options().out_is_tty, context.env);
  console.options().color_err = UseColor(color, console.options().err_is_tty, context.env);
  console.options().verbosity = parsed.quiet ? -1 : parsed.verbose ? 1 : 0;
  context.coordinator = parsed.coordinator.empty() ? context.env("NEOLOG_COORDINATOR").value_or("")
                                                   : parsed.coordinator;
  if (parsed.json) parsed.output = "json";
  parsed.list.format = Formats().at(parsed.output);
  if (parsed.show_version) return VersionCommand(context);
  if (!parsed.command) {
    *console.options().err << kShortHelp;
    return kExitUsage;
  }
  return parsed.command(context);
}

}  // namespace neolog::cli
