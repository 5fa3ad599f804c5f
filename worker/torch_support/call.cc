#include "worker/torch_support/call.h"

#include <c10/util/Exception.h>

#include <exception>
#include <new>
#include <string>

namespace neolog::torch_support {
namespace {

// The CPU allocator throws a plain c10::Error; its text is the only sign.
bool SaysOutOfMemory(std::string_view what) {
  return what.find("not enough memory") != std::string_view::npos ||
         what.find("can't allocate memory") != std::string_view::npos ||
         what.find("out of memory") != std::string_view::npos;
}

// libtorch appends a C++ stack and notes for Python users: the first line says it.
std::string_view FirstLine(std::string_view what) { return what.substr(0, what.find('\n')); }

absl::Status OutOfMemory(std::string_view doing, std::string_view what) {
  std::string message(doing);
  message += ": out of memory: ";
  message += what;
  message += "; use fewer samples at once, smaller pictures or a 16-bit precision";
  return absl::ResourceExhaustedError(message);
}

}  // namespace

absl::Status StatusOfCurrentException(std::string_view doing) noexcept {
  try {
    try {
      throw;
    } catch (const c10::OutOfMemoryError& e) {
      return OutOfMemory(doing, FirstLine(e.what_without_backtrace()));
    } catch (const c10::Error& e) {
      const std::string_view what = FirstLine(e.what_without_backtrace());
      if (SaysOutOfMemory(what)) return OutOfMemory(doing, what);
      return Internal(std::string(doing) + ": " + std::string(what));
    } catch (const std::bad_alloc&) {
      return OutOfMemory(doing, "the system refused an allocation");
    } catch (const std::exception& e) {
      if (SaysOutOfMemory(e.what())) return OutOfMemory(doing, FirstLine(e.what()));
      return Internal(std::string(doing) + ": " + std::string(FirstLine(e.what())));
    } catch (...) {
      return Internal(std::string(doing) + ": an exception of unknown type");
    }
  } catch (...) {
    // No memory for the message itself.
    return absl::Status(absl::StatusCode::kResourceExhausted, "");
  }
}

}  // namespace neolog::torch_support
