#include "common/tensor_file/pickle_globals.h"

#include <algorithm>
#include <array>

namespace neolog {
namespace {

struct StorageRow {
  std::string_view name;
  TensorType type;
};
constexpr std::array<StorageRow, 11> kStorages = {{{"FloatStorage", TensorType::kFloat32},
                                                   {"HalfStorage", TensorType::kFloat16},
                                                   {"BFloat16Storage", TensorType::kBFloat16},
                                                   {"DoubleStorage", TensorType::kFloat64},
                                                   {"LongStorage", TensorType::kInt64},
                                                   {"IntStorage", TensorType::kInt32},
                                                   {"ShortStorage", TensorType::kInt16},
                                                   {"CharStorage", TensorType::kInt8},
                                                   {"ByteStorage", TensorType::kUint8},
                                                   {"BoolStorage", TensorType::kBool},
                                                   {"UntypedStorage", TensorType::kUint8}}};

struct GlobalRow {
  std::string_view module, name;
  PickleGlobal meaning;
};
constexpr GlobalRow kKnown[] = {
    {"torch._utils", "_rebuild_tensor", PickleGlobal::kRebuildTensor},
    {"torch._utils", "_rebuild_tensor_v2", PickleGlobal::kRebuildTensor},
    {"torch._utils", "_rebuild_tensor_v3", PickleGlobal::kRebuildTensor},
    {"torch._utils", "_rebuild_parameter", PickleGlobal::kRebuildParameter},
    {"torch._utils", "_rebuild_parameter_with_state", PickleGlobal::kRebuildParameter},
    {"torch._tensor", "_rebuild_from_type_v2", PickleGlobal::kRebuildFromType},
    {"collections", "OrderedDict", PickleGlobal::kDict},
    {"collections", "defaultdict", PickleGlobal::kDict},
    {"builtins", "dict", PickleGlobal::kDict},
    {"__builtin__", "dict", PickleGlobal::kDict},
    {"builtins", "set", PickleGlobal::kSet},
    {"__builtin__", "set", PickleGlobal::kSet},
    {"torch", "Size", PickleGlobal::kTuple},
    // Hyper-parameters; nothing else of this module is data.
    {"types", "SimpleNamespace", PickleGlobal::kInert},
};

// Modules of which nothing belongs into a file of weights, with everything below them.
constexpr std::string_view kRefusedModules[] = {"os",
                                                "posix",
                                                "nt",
                                                "posixpath",
                                                "ntpath",
                                                "subprocess",
                                                "_posixsubprocess",
                                                "commands",
                                                "popen2",
                                                "pexpect",
                                                "pty",
                                                "_osx_support",
                                                "_aix_support",
                                                "_pyrepl",
                                                "platform",
                                                "sys",
                                                "importlib",
                                                "imp",
                                                "_imp",
                                                "pkgutil",
                                                "zipimport",
                                                "runpy",
                                                "site",
                                                "code",
                                                "codeop",
                                                "codecs",
                                                "marshal",
                                                "pickle",
                                                "_pickle",
                                                "cPickle",
                                                "cloudpickle",
                                                "dill",
                                                "joblib",
                                                "shelve",
                                                "types",
                                                "operator",
                                                "_operator",
                                                "inspect",
                                                "gc",
                                                "ctypes",
                                                "_ctypes",
                                                "cffi",
                                                "mmap",
                                                "signal",
                                                "threading",
                                                "_thread",
                                                "multiprocessing",
                                                "concurrent",
                                                "asyncio",
                                                "socket",
                                                "_socket",
                                                "ssl",
                                                "select",
                                                "socketserver",
                                                "urllib",
                                                "urllib2",
                                                "urllib3",
                                                "http",
                                                "httplib",
                                                "requests",
                                                "httpx",
                                                "paramiko",
                                                "aiohttp",
                                                "ftplib",
                                                "smtplib",
                                                "telnetlib",
                                                "xmlrpc",
                                                "webbrowser",
                                                "antigravity",
                                                "shutil",
                                                "tempfile",
                                                "io",
                                                "_io",
                                                "fileinput",
                                                "glob",
                                                "pdb",
                                                "bdb",
                                                "profile",
                                                "cProfile",
                                                "timeit",
                                                "trace",
                                                "doctest",
                                                "pydoc",
                                                "unittest",
                                                "test.support",
                                                "pip",
                                                "setuptools",
                                                "distutils",
                                                "ensurepip",
                                                "venv",
                                                "idlelib",
                                                "lib2to3",
                                                "winreg",
                                                "_winapi",
                                                "msvcrt",
                                                "torch.hub",
                                                "torch.serialization",
                                                "torch.package",
                                                "torch.jit",
                                                "torch.utils.cpp_extension",
                                                "torch.utils.collect_env",
                                                "torch.utils.bottleneck",
                                                "numpy.testing",
                                                "numpy.f2py",
                                                "numpy.distutils"};

// Functions of otherwise harmless modules.
constexpr GlobalRow kRefusedNames[] = {
    {"torch", "load", PickleGlobal::kRefused},
    {"torch", "save", PickleGlobal::kRefused},
    {"torch.storage", "_load_from_bytes", PickleGlobal::kRefused},
    {"numpy", "load", PickleGlobal::kRefused},
    {"numpy", "fromfile", PickleGlobal::kRefused},
    {"pandas", "read_pickle", PickleGlobal::kRefused},
};

// Of Python's own names, what only makes plain values.
constexpr std::string_view kPlainBuiltins[] = {
    "bool",    "int",       "long",     "float", "str",   "bytes",     "tuple",
    "list",    "frozenset", "complex",  "slice", "range", "bytearray", "object",
    "unicode", "NoneType",  "Ellipsis", "type",  "xrange"};

template <typename Range>
bool Contains(const Range& range, std::string_view what) {
  return std::find(std::begin(range), std::end(range), what) != std::end(range);
}

bool IsInRefusedModule(std::string_view module) {
  return std::any_of(std::begin(kRefusedModules), std::end(kRefusedModules),
                     [&](std::string_view refused) {
                       return module.starts_with(refused) &&
                              (module.size() == refused.size() || module[refused.size()] == '.');
                     });
}

}  // namespace

bool StorageTypeOf(std::string_view name, TensorType* type) {
  const auto row = std::find_if(kStorages.begin(), kStorages.end(),
                                [&](const StorageRow& r) { return r.name == name; });
  if (row == kStorages.end()) return false;
  *type = row->type;
  return true;
}

PickleGlobal MeaningOf(std::string_view module, std::string_view name) {
  for (const GlobalRow& row : kKnown) {
    if (row.module == module && row.name == name) return row.meaning;
  }
  if ((module == "torch" || module == "torch.storage" || module == "torch.cuda") &&
      name.ends_with("Storage")) {
    return PickleGlobal::kStorage;
  }
  // A dotted name reaches for attributes: nothing that torch writes has one.
  if (name.find('.') != name.npos || IsInRefusedModule(module)) return PickleGlobal::kRefused;
  for (const GlobalRow& row : kRefusedNames) {
    if (row.module == module && row.name == name) return row.meaning;
  }
  if ((module == "builtins" || module == "__builtin__") && !Contains(kPlainBuiltins, name))
    return PickleGlobal::kRefused;
  return PickleGlobal::kInert;
}

}  // namespace neolog
