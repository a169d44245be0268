// Packing buffers for OpenBLAS. The linker's --wrap replaces OpenBLAS's allocator, which hangs if the system has no
// memory and serves at most 128 callers. Without the wrap (SIGMA_WRAP_OPENBLAS: see binding.gyp), the library keeps its
// own allocator, and nothing here does anything.
#pragma once

#include <cstddef>

namespace sigma::cpu {

#if defined(SIGMA_WRAP_OPENBLAS)

// The size of each buffer: OpenBLAS's BUFFER_SIZE. Only the pages that a call touches take memory.
constexpr size_t kBlasBufferBytes = size_t{128} << 20;

// Ensures that at least one buffer exists; throws std::bad_alloc if there is none and none can be mapped. After one
// successful call, no BlasCall throws.
void reserve_blas_buffer();

// RAII: holds a buffer during one call of BLAS or LAPACK. The constructor waits if all buffers are held and no further
// buffer can be mapped. To avoid deadlock, a thread that holds one must not wait or create a second BlasCall.
class BlasCall {
 public:
  BlasCall();
  ~BlasCall();
  BlasCall(const BlasCall&) = delete;
  BlasCall& operator=(const BlasCall&) = delete;
};

#else

inline void reserve_blas_buffer() {}

class BlasCall {
 public:
  BlasCall() {}
  BlasCall(const BlasCall&) = delete;
  BlasCall& operator=(const BlasCall&) = delete;
};

#endif

}  // namespace sigma::cpu
