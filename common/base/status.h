#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

/// Errors are values: `absl::Status` across every module boundary. A message says what happened to
/// which file, line or key, what was expected and what to do; each caller prepends what it was
/// doing ("reading 'cat.safetensors': …").
namespace neolog {

/// The status with `context` and ": " before its message. OK stays OK; code and payloads are kept.
absl::Status Annotate(const absl::Status& status, std::string_view context);

/// An absl::string_view of the same bytes: Debian's abseil does not take std::string_view.
inline absl::string_view ToAbsl(std::string_view s) { return {s.data(), s.size()}; }
/// A std::string_view of the same bytes.
inline std::string_view ToStd(absl::string_view s) { return {s.data(), s.size()}; }

absl::Status InvalidArgument(std::string_view message);
absl::Status NotFound(std::string_view message);
absl::Status AlreadyExists(std::string_view message);
absl::Status FailedPrecondition(std::string_view message);
absl::Status Unavailable(std::string_view message);
absl::Status DataLoss(std::string_view message);
absl::Status Internal(std::string_view message);
absl::Status Aborted(std::string_view message);

namespace status_internal {
inline const absl::Status& StatusOf(const absl::Status& s) { return s; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& s) {
  return s.status();
}
}  // namespace status_internal

}  // namespace neolog

#define NEOLOG_CONCAT_INNER_(a, b) a##b
#define NEOLOG_CONCAT_(a, b) NEOLOG_CONCAT_INNER_(a, b)

/// Returns the status of `expr` from the enclosing function unless it is OK.
#define RETURN_IF_ERROR(expr)                                     \
  do {                                                            \
    if (auto neolog_status_ = (expr); !neolog_status_.ok())       \
      return ::neolog::status_internal::StatusOf(neolog_status_); \
  } while (false)

/// The same with context: RETURN_IF_ERROR_WITH(Read(path), "reading '" + path + "'").
#define RETURN_IF_ERROR_WITH(expr, context)                                                      \
  do {                                                                                           \
    if (auto neolog_status_ = (expr); !neolog_status_.ok())                                      \
      return ::neolog::Annotate(::neolog::status_internal::StatusOf(neolog_status_), (context)); \
  } while (false)

/// ASSIGN_OR_RETURN(auto value, Compute()): the value, or return with the error.
#define ASSIGN_OR_RETURN(lhs, expr) \
  NEOLOG_ASSIGN_OR_RETURN_(NEOLOG_CONCAT_(neolog_or_, __LINE__), lhs, expr)
#define NEOLOG_ASSIGN_OR_RETURN_(tmp, lhs, expr) \
  auto tmp = (expr);                             \
  if (!tmp.ok()) return tmp.status();            \
  lhs = std::move(tmp).value()

/// The same with context.
#define ASSIGN_OR_RETURN_WITH(lhs, expr, context) \
  NEOLOG_ASSIGN_OR_RETURN_WITH_(NEOLOG_CONCAT_(neolog_or_, __LINE__), lhs, expr, context)
#define NEOLOG_ASSIGN_OR_RETURN_WITH_(tmp, lhs, expr, context)       \
  auto tmp = (expr);                                                 \
  if (!tmp.ok()) return ::neolog::Annotate(tmp.status(), (context)); \
  lhs = std::move(tmp).value()
