// Runs body() once for every thread of a grid, on the calling host thread, before it returns.
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
