// Sums whose tokens are split between blocks, added to what the outputs hold. No split depends on the device (see
// runtime/plan.h).
#pragma once

#include "cuda/runtime/dispatch.h"
#include "cuda/runtime/kernels/reduce.cuh"

namespace sigma::cuda {

template <class V>
void sum_partials(sigma_context& context, const char* operation, int64_t count, const Split& split, const V* partials,
                  const Mask<V>& mask, V* sums) {
  launch(context, operation, sum_partials_kernel<V>, flat_grid(count), dim3(256), 0, count,
         static_cast<int>(split.count), partials, mask, true, sums);
}

// Where a kernel leaves its sums: partial ones in scratch memory, or added to `sums` at once if there is one split.
// Without scratch memory there is one, which is slow: a backward that has added some of its gradients must not fail.
template <class V>
V* partials_for(sigma_context& context, Split& split, int64_t count, V* sums) {
  if (split.count == 1) return sums;
  try {
    return static_cast<V*>(context.scratch(static_cast<size_t>(split.count * count) * sizeof(V)));
  } catch (const Failure& failure) {
    if (failure.status() != SIGMA_OUT_OF_MEMORY) throw;
    split = {1, split.count * split.size};
    return sums;
  }
}

}  // namespace sigma::cuda
