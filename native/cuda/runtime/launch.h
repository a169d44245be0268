// kernel<<<grid, block, shared, stream>>>(arguments...), in a form that a host compiler also accepts.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>

#include "cuda/runtime/context.h"
#ifdef SIGMA_SIMULATED
#include "simulate.h"
#endif

namespace sigma::cuda {

// Launches `kernel` on a stream as part of `operation`. At most 48 KiB of shared memory.
template <class... Parameters, class... Arguments>
void launch_on(cudaStream_t stream, [[maybe_unused]] const char* operation, void (*kernel)(Parameters...), dim3 grid,
               dim3 block, size_t shared, Arguments... arguments) {
#ifdef SIGMA_SIMULATED
  enqueue_kernel(stream, reinterpret_cast<const void*>(kernel), shared,
                 [=] { simulate(grid, block, shared, [=] { kernel(static_cast<Parameters>(arguments)...); }); });
#else
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  check(cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...), operation);
#endif
}

// The same on the context's stream, with up to the device's maximum of shared memory.
template <class... Parameters, class... Arguments>
void launch(sigma_context& context, const char* operation, void (*kernel)(Parameters...), dim3 grid, dim3 block,
            size_t shared, Arguments... arguments) {
  context.queued(operation);
  constexpr size_t kWithoutOptIn = 48 << 10;
  if (shared > kWithoutOptIn) {
    // All threads share this attribute of the kernel, so it is always set to the same value.
    check(cudaFuncSetAttribute(reinterpret_cast<const void*>(kernel), cudaFuncAttributeMaxDynamicSharedMemorySize,
                               static_cast<int>(context.device().shared_bytes)),
          operation);
  }
  launch_on(context.stream(), operation, kernel, grid, block, shared, arguments...);
}

}  // namespace sigma::cuda
