// Lets the last block of several, in order of time, finish what all of them have prepared: one launch instead of two.
#pragma once

#include "cuda/runtime/kernels/tile.cuh"

namespace sigma::cuda {

// Whether all `blocks` that share `counter` have called this. The caller then sees what each of them wrote before.
// Every thread of the block must call it. The counter is 0 before the launch, and again after it. `memory` is shared.
__device__ __forceinline__ bool is_last_block(unsigned* counter, unsigned blocks, unsigned* memory) {
  __syncthreads();
  if (threadIdx.x == 0 && threadIdx.y == 0) {
    __threadfence();
    *memory = atomicInc(counter, blocks - 1);
    __threadfence();
  }
  __syncthreads();
  return *memory == blocks - 1;
}

}  // namespace sigma::cuda
