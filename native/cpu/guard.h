// Inside the backend failures are exceptions; at its border they are statuses. This file is that border.
#pragma once

#include <exception>
#include <limits>
#include <new>
#include <stdexcept>
#include <string>

#include "backend.h"

namespace sigma::cpu {

class Failure : public std::runtime_error {
 public:
  Failure(sigma_status status, const std::string& message) : std::runtime_error(message), status_(status) {}
  sigma_status status() const noexcept { return status_; }

 private:
  sigma_status status_;
};

void remember_error(const char* message) noexcept;

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

// BLAS and LAPACK count with 32 bits.
inline int blas_int(int64_t value) {
  if (value < 0 || value > std::numeric_limits<int>::max()) {
    throw Failure(SIGMA_UNSUPPORTED, "a dimension of " + std::to_string(value) + " is beyond BLAS's 32-bit integers");
  }
  return static_cast<int>(value);
}

// Calls `body.template operator()<T>()` for the type that `dtype` names.
template <class Body>
void with_type(sigma_dtype dtype, Body&& body) {
  if (dtype == SIGMA_FLOAT32) {
    body.template operator()<float>();
  } else if (dtype == SIGMA_FLOAT64) {
    body.template operator()<double>();
  } else {
    throw Failure(SIGMA_UNSUPPORTED, "the CPU computes in float32 and float64");
  }
}

}  // namespace sigma::cpu
