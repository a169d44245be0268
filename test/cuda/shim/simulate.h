// Runs body() once for each thread of a grid, synchronously on the calling host thread.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "machine.h"

namespace sigma::cuda {

template <class F>
void simulate(dim3 grid, dim3 block, size_t shared, F body) {
  shim::machine().run(
      grid, block, shared, [](void* function) { (*static_cast<F*>(function))(); }, &body);
}

}  // namespace sigma::cuda
