// Sums whose tokens are split among blocks. The sums are added to the outputs, or overwrite fresh outputs. Splits do
// not depend on the device (see runtime/plan.h).
#pragma once

#include "cuda/runtime/dispatch.h"
#include "cuda/runtime/kernels/reduce.cuh"

namespace sigma::cuda {

template <class V>
void sum_partials(sigma_context& context, const char* operation, int64_t count, const Split& split, const V* partials,
                  const Mask<V>& mask, bool adds, V* sums) {
  launch(context, operation, sum_partials_kernel<V>, flat_grid(count), dim3(256), 0, count,
         static_cast<int>(split.count), partials, mask, adds, sums);
}

template <class V>
void clear(sigma_context& context, const char* operation, V* sums, int64_t count) {
  if (count > 0) check(cudaMemsetAsync(sums, 0, static_cast<size_t>(count) * sizeof(V), context.stream()), operation);
}

// Where a kernel writes its sums: to scratch memory, or directly to `sums` if there is one split. Without scratch
// memory falls back to one split, which is slow but cannot fail: a backward may already have added other gradients.
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
