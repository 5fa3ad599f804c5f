#pragma once

#include <string>
#include <string_view>

namespace neolog::testing {

/// An empty folder of its own, removed with everything in it at the end.
class ScopedDir {
 public:
  ScopedDir();
  ~ScopedDir();
  ScopedDir(const ScopedDir&) = delete;
  ScopedDir& operator=(const ScopedDir&) = delete;
  const std::string& path() const { return path_; }
  /// path()/name.
  std::string File(std::string_view name) const;

 private:
  std::string path_;
};

/// The whole of a file; the test fails when it cannot be read.
std::string ReadFileOrDie(const std::string& path);
/// Writes a file; the test fails when it cannot.
void WriteFileOrDie(const std::string& path, std::string_view bytes);

}  // namespace neolog::testing
