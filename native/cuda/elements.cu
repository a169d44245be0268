// Numbers of one type in another.
#include "dispatch.h"
#include "kernels/cast.cuh"
#include "ops.h"

namespace sigma::cuda {

void cast(sigma_context& context, sigma_dtype from_dtype, sigma_dtype to_dtype, int64_t count, const void* from,
          void* to) {
  if (count == 0) return;
  for_type(from_dtype, [&]<class From>(std::type_identity<From>) {
    for_type(to_dtype, [&]<class To>(std::type_identity<To>) {
      launch(context, "cast", cast_kernel<From, To>, flat_grid(divided_up(count, kCastLanes<From, To>)), dim3(256), 0,
             count, static_cast<const From*>(from), static_cast<To*>(to), starts_aligned(from) && starts_aligned(to));
    });
  });
}

}  // namespace sigma::cuda
