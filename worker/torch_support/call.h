#pragma once

#include <string_view>
#include <type_traits>
#include <utility>

#include "common/base/status.h"

namespace neolog::torch_support {

/// The status of the exception being handled; call it only inside `catch (...)`. ResourceExhausted
/// when memory ran out (device or host), Internal otherwise. `doing` stands before the message.
/// Never throws.
absl::Status StatusOfCurrentException(std::string_view doing) noexcept;

namespace internal {
template <typename T>
struct CallResult {
  using type = absl::StatusOr<T>;
};
template <>
struct CallResult<void> {
  using type = absl::Status;
};
template <>
struct CallResult<absl::Status> {
  using type = absl::Status;
};
template <typename T>
struct CallResult<absl::StatusOr<T>> {
  using type = absl::StatusOr<T>;
};
}  // namespace internal

/// Runs `fn` and turns whatever it throws into a Status: the only place where libtorch's exceptions
/// end. The result is Status for a function that returns nothing or Status, StatusOr<T> for one
/// that returns T or StatusOr<T>.
///
///     ASSIGN_OR_RETURN(at::Tensor text, CallTorch("encoding the prompt", [&] {
///       return model.EncodeText(ids, slots, rows);
///     }));
template <typename Fn>
auto CallTorch(std::string_view doing, Fn&& fn) ->
    typename internal::CallResult<std::decay_t<std::invoke_result_t<Fn>>>::type {
  try {
    if constexpr (std::is_void_v<std::invoke_result_t<Fn>>) {
      std::forward<Fn>(fn)();
      return absl::OkStatus();
    } else {
      return std::forward<Fn>(fn)();
    }
  } catch (...) {
    return StatusOfCurrentException(doing);
  }
}

}  // namespace neolog::torch_support
