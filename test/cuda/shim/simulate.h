// Runs body() once for each thread of a grid.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <functional>

#include "machine.h"

namespace sigma::cuda {

// Synchronously on the calling host thread.
template <class F>
void simulate(dim3 grid, dim3 block, size_t shared, F body) {
  shim::machine().run(
      grid, block, shared, [](void* function) { (*static_cast<F*>(function))(); }, &body);
}

// Runs `work` in the order of the stream. Defined by whoever has streams: test/cuda/simulation queues it, and
// test/cuda/kernels runs it at once.
void enqueue_kernel(cudaStream_t stream, const void* kernel, size_t shared, std::function<void()> work);

// In the order of the stream, fills memory with a pattern.
void mark_uninitialised(void* memory, size_t bytes, cudaStream_t stream);

}  // namespace sigma::cuda
