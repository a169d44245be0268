// A backend throws exceptions internally. `guarded` turns them into statuses for its callers.
#pragma once

#include <cstring>
#include <exception>
#include <initializer_list>
#include <new>
#include <stdexcept>
#include <string>

#include "contract/backend.h"

namespace sigma {

class Failure : public std::runtime_error {
 public:
  Failure(sigma_status status, const std::string& message) : std::runtime_error(message), status_(status) {}
  sigma_status status() const noexcept { return status_; }

 private:
  sigma_status status_;
};

// Message of this thread's last failure. Short, because static thread-local storage is scarce in a loaded library.
inline constinit thread_local char error_text[256] = "";

inline const char* last_error() { return error_text; }

inline void remember_error(const char* message) noexcept { std::strncpy(error_text, message, sizeof(error_text) - 1); }

// Runs `body` and turns any exception into a status and a message for last_error().
template <class Body>
sigma_status guarded(Body&& body) noexcept {
  try {
    body();
    return SIGMA_OK;
  } catch (const Failure& failure) {
    remember_error(failure.what());
    return failure.status();
  } catch (const std::bad_alloc&) {
    remember_error("not enough host memory for this call");
    return SIGMA_OUT_OF_MEMORY;
  } catch (const std::exception& error) {
    remember_error(error.what());
    return SIGMA_NATIVE;
  } catch (...) {
    remember_error("unknown failure");
    return SIGMA_NATIVE;
  }
}

inline const char* name_of(sigma_dtype dtype) {
  constexpr const char* kNames[] = {"float32", "float64", "bfloat16", "int8", "float16"};
  return kNames[dtype];
}

// For a call whose types no kernel supports.
[[noreturn]] inline void refuse_types(sigma_real real, std::initializer_list<sigma_dtype> dtypes) {
  std::string text = "this backend has no kernel for ";
  for (const sigma_dtype dtype : dtypes) text += std::string(name_of(dtype)) + ", ";
  throw Failure(SIGMA_UNSUPPORTED, text + "with sums in " + (real == SIGMA_REAL64 ? "float64" : "float32"));
}

}  // namespace sigma
