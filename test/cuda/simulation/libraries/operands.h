// Shared by the fake math libraries: checks of operands, and injected failures.
#pragma once

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>

#include "../misuse.h"

namespace sigma::simulation {

// A function of the simulated backend; null if the backend is not loaded.
template <class Function>
Function of_backend(const char* name) {
  static void* const library = dlopen("libsigmatune_cuda_simulated.so", RTLD_NOW | RTLD_NOLOAD);
  return library == nullptr ? nullptr : reinterpret_cast<Function>(dlsym(library, name));
}

// Aborts unless the whole range is device memory. Checks nothing if the simulated backend is not loaded.
inline void require_operand(const void* memory, size_t bytes, const char* call) {
  static const auto check = of_backend<int (*)(const void*, size_t)>("sigma_simulated_device_memory");
  if (check != nullptr) require(check(memory, bytes) != 0, call, "expected an operand in device memory");
}

// Runs `work` in the order of the stream.
inline void enqueue(void* stream, std::function<void()> work) {
  static const auto post = of_backend<void (*)(void*, void (*)(void*), void*)>("sigma_simulated_enqueue");
  if (post == nullptr) return work();
  const auto run = [](void* argument) {
    const std::unique_ptr<std::function<void()>> owned(static_cast<std::function<void()>*>(argument));
    (*owned)();
  };
  post(stream, run, new std::function<void()>(std::move(work)));
}

// Whether the device has failed: then every routine fails too.
inline bool device_failed() { return setting("SIGMA_SIMULATED_ERROR", 0) != 0; }

// A handle needs memory of the device outside of the pool.
inline bool has_handle_memory() {
  constexpr size_t kHandle = size_t{1} << 20;
  static const auto available = of_backend<size_t (*)()>("sigma_simulated_free_memory");
  return available == nullptr || available() >= kHandle;
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
