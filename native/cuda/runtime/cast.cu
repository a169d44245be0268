#include "cuda/ops.h"
#include "cuda/runtime/dispatch.h"
#include "cuda/runtime/kernels/cast.cuh"

namespace sigma::cuda {

void cast(sigma_context& context, const sigma_cast& call) {
  const int64_t count = call.from.rows * call.from.columns;
  if (count == 0) return;
  const void* const from = call.from.data;
  void* const to = call.to.data;
  for_type(call.from.dtype, [&]<class From>(std::type_identity<From>) {
    for_type(call.to.dtype, [&]<class To>(std::type_identity<To>) {
      launch(context, "cast", cast_kernel<From, To>, flat_grid(divided_up(count, kPerCastThread<From, To>)), dim3(256),
             0, count, static_cast<const From*>(from), static_cast<To*>(to),
             starts_aligned(from) && starts_aligned(to));
    });
  });
}

}  // namespace sigma::cuda
