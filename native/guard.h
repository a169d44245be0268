// Inside a backend failures are exceptions; at its border they are statuses. This file is that border, for all of them.
#pragma once

#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>

#include "backend.h"

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

}  // namespace sigma
