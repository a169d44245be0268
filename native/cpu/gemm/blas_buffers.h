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

// Bytes of memory that the buffers take.
size_t blas_buffer_bytes() noexcept;
// Frees the pages of the buffers that no call holds. Any thread may call it at any time.
void trim_blas_buffers() noexcept;

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
inline size_t blas_buffer_bytes() noexcept { return 0; }
inline void trim_blas_buffers() noexcept {}

class BlasCall {
 public:
  BlasCall() {}
  BlasCall(const BlasCall&) = delete;
  BlasCall& operator=(const BlasCall&) = delete;
};

#endif

}  // namespace sigma::cpu
