// Any bytes as a settings file: reading must end, without undefined behaviour and in bounded
// memory, and what is accepted must survive being written and read again.
#include <google/protobuf/util/message_differencer.h>

#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "common/config/config.h"
#include "common/config/settings_text.h"
#include "common/storage/durable_write.h"
#include "common/storage/memory_file_system.h"

namespace {

neolog::config::ConfigResult Read(std::string_view text) {
  neolog::MemoryFileSystem fs;
  if (!neolog::WriteFileDurably(fs, "/run.yaml", text).ok()) std::abort();
  return neolog::config::LoadRunSpec({.fs = &fs, .file = "/run.yaml", .check_files = false});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto first = Read({reinterpret_cast<const char*>(data), size});
  for (const auto& error : first.errors) {
    if (error.Text().empty() || error.problem.empty()) std::abort();
  }
  neolog::config::FormatErrors(first.errors, first.text, true);
  if (!first.ok()) return 0;
  const auto second = Read(neolog::config::ToYaml(first.spec));
  if (!second.ok() || !google::protobuf::util::MessageDifferencer::Equals(first.spec, second.spec))
    std::abort();
  return 0;
}
