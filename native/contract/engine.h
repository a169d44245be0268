// How the addon and the recipes call a backend. A failed status becomes an exception.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

#include "contract/backend.h"

namespace sigma {

// A failed backend call; what() is the backend's message.
class BackendError : public std::runtime_error {
 public:
  BackendError(sigma_status status, const char* message) : std::runtime_error(message), status_(status) {}
  sigma_status status() const noexcept { return status_; }

 private:
  sigma_status status_;
};

// A backend and a context: what every call needs.
struct Engine {
  const sigma_backend* backend;
  sigma_context* context;

  void check(sigma_status status) const {
    if (status != SIGMA_OK) throw BackendError(status, backend->last_error());
  }

  // Runs the operation whose table entry is `entry`.
  template <class Call>
  void run(sigma_status (*sigma_backend::*entry)(sigma_context*, const Call*), const Call& call) const {
    check((backend->*entry)(context, &call));
  }

  // Runs independent calls of the operation, whose structs these are.
  template <class Call>
  void run_each(sigma_operation operation, const std::vector<Call>& calls) const {
    if (!calls.empty()) check(backend->run_each(context, operation, calls.data(), static_cast<int64_t>(calls.size())));
  }
};

// Bytes of one element.
constexpr size_t element_size(sigma_dtype dtype) {
  switch (dtype) {
    case SIGMA_FLOAT64: return 8;
    case SIGMA_FLOAT32: return 4;
    case SIGMA_BFLOAT16:
    case SIGMA_FLOAT16: return 2;
    case SIGMA_INT8: return 1;
  }
  return 0;
}
constexpr size_t element_size(sigma_real real) { return real == SIGMA_REAL64 ? 8 : 4; }

// Types of 16 bits. Their vectors and sums are float32.
constexpr bool is_half(sigma_dtype dtype) { return dtype == SIGMA_BFLOAT16 || dtype == SIGMA_FLOAT16; }

// The type of the vectors that go with matrices of this type.
constexpr sigma_real real_of(sigma_dtype dtype) { return dtype == SIGMA_FLOAT64 ? SIGMA_REAL64 : SIGMA_REAL32; }
// The matrix type with the same element type.
constexpr sigma_dtype dtype_of(sigma_real real) { return real == SIGMA_REAL64 ? SIGMA_FLOAT64 : SIGMA_FLOAT32; }

// A matrix without padding. The cast is safe: a backend never writes to an input.
inline sigma_matrix dense_matrix(sigma_dtype dtype, const void* data, int64_t rows, int64_t columns) {
  return {const_cast<void*>(data), rows, columns, columns, dtype, nullptr};
}

}  // namespace sigma
