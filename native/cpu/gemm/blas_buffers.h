// The memory that OpenBLAS packs its operands into. OpenBLAS's own allocator waits for ever when the system has no
// memory, and serves 128 callers. The linker's --wrap puts these buffers in its place.
#pragma once

#include <cstddef>

namespace sigma::cpu {

// The size of each buffer: OpenBLAS's BUFFER_SIZE. Only the pages that a call touches become real.
constexpr size_t kBlasBufferBytes = size_t{128} << 20;

// Makes sure that at least one buffer exists; throws std::bad_alloc if none does and none can be mapped. After it has
// returned once, no BlasCall throws.
void reserve_blas_buffer();

// Holds a buffer for one call of BLAS or LAPACK. If all buffers are held and no further one can be mapped, the
// constructor waits for one. A thread must wait for nothing else, and make no second BlasCall, while it holds one.
class BlasCall {
 public:
  BlasCall();
  ~BlasCall();
  BlasCall(const BlasCall&) = delete;
  BlasCall& operator=(const BlasCall&) = delete;
};

}  // namespace sigma::cpu
