// Inside a backend failures are exceptions; at its border they are statuses. This file is that border, for all of them.
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

// What last_error() says: the text of this thread's last failure. Short, because the linker has little room for such
// data.
inline constinit thread_local char error_text[256] = "";

inline const char* last_error() { return error_text; }

inline void remember_error(const char* message) noexcept { std::strncpy(error_text, message, sizeof(error_text) - 1); }

// Runs `body` and turns whatever it throws into a status and a text for last_error().
template <class Body>
sigma_status guarded(Body&& body) noexcept {
  try {
    body();
    return SIGMA_OK;
  } catch (const Failure& failure) {
    remember_error(failure.what());
    return failure.status();
  } catch (const std::bad_alloc&) {
    remember_error("the system has no memory left for this call");
    return SIGMA_OUT_OF_MEMORY;
  } catch (const std::exception& error) {
    remember_error(error.what());
    return SIGMA_NATIVE;
  } catch (...) {
    remember_error("an unknown failure");
    return SIGMA_NATIVE;
  }
}

inline const char* name_of(sigma_dtype dtype) {
  constexpr const char* kNames[] = {"float32", "float64", "bfloat16", "int8"};
  return kNames[dtype];
}

// For a call whose types no kernel takes.
[[noreturn]] inline void refuse_types(sigma_real real, std::initializer_list<sigma_dtype> dtypes) {
  std::string text = "this backend has no kernel for ";
  for (const sigma_dtype dtype : dtypes) text += std::string(name_of(dtype)) + ", ";
  throw Failure(SIGMA_UNSUPPORTED, text + "with sums in " + (real == SIGMA_REAL64 ? "float64" : "float32"));
}

}  // namespace sigma
