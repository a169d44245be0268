// Shared by the fake math libraries: checks of operands, and injected failures.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

#include "../misuse.h"

namespace sigma::simulation {

// Aborts unless the whole range is device memory. Checks nothing if the simulated backend is not loaded.
inline void require_operand(const void* memory, size_t bytes, const char* call) {
  using Check = int (*)(const void*, size_t);
  static const Check check = [] {
    void* const library = dlopen("libsigmatune_cuda_simulated.so", RTLD_NOW | RTLD_NOLOAD);
    return library == nullptr ? nullptr : reinterpret_cast<Check>(dlsym(library, "sigma_simulated_device_memory"));
  }();
  if (check != nullptr) require(check(memory, bytes) != 0, call, "expected an operand in device memory");
}

// A column-major matrix. The last column may end before the leading dimension.
inline void require_matrix(const void* data, int64_t rows, int64_t columns, int64_t stride, size_t size,
                           const char* call) {
  require(stride >= rows && stride >= 1, call, "expected a leading dimension of at least the rows");
  require_operand(data, static_cast<size_t>(stride * (columns - 1) + rows) * size, call);
}

inline void fill_rubbish(void* memory, size_t bytes) { std::memset(memory, 0xA5, bytes); }

// SIGMA_SIMULATED_FAIL lists routines that fail, "gesvdp,syevd:wrong". The suffix is the kind of failure; without a
// suffix, the routine does not converge.
//   status, memory   returns this error
//   wrong            one number is wrong
//   swapped          two right singular vectors are swapped
//   skewed           the last left singular vector is a copy of the first
//   nan              one singular value is NaN
enum class Planted { none, unconverged, status, memory, wrong, swapped, skewed, nan };

inline Planted planted(const char* routine) {
  const char* const value = std::getenv("SIGMA_SIMULATED_FAIL");
  std::string list = value == nullptr ? "" : value;
  while (!list.empty()) {
    const size_t comma = list.find(',');
    const std::string item = list.substr(0, comma);
    list = comma == std::string::npos ? "" : list.substr(comma + 1);
    const size_t colon = item.find(':');
    if (item.substr(0, colon) != routine) continue;
    const std::string how = colon == std::string::npos ? "" : item.substr(colon + 1);
    if (how == "status") return Planted::status;
    if (how == "memory") return Planted::memory;
    if (how == "wrong") return Planted::wrong;
    if (how == "swapped") return Planted::swapped;
    if (how == "skewed") return Planted::skewed;
    if (how == "nan") return Planted::nan;
    return Planted::unconverged;
  }
  return Planted::none;
}

}  // namespace sigma::simulation
