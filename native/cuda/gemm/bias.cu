#include <algorithm>

#include "cuda/gemm/bias.h"
#include "cuda/gemm/kernels/bias.cuh"
#include "cuda/runtime/dispatch.h"

namespace sigma::cuda {
namespace {

template <class T>
void add(sigma_context& context, const sigma_matrix& c, const void* bias) {
  constexpr unsigned kThreads = 256;
  constexpr int64_t kRowBlocks = 1024;
  const dim3 grid(static_cast<unsigned>((c.columns + kThreads - 1) / kThreads),
                  static_cast<unsigned>(std::min(c.rows, kRowBlocks)));
  launch(context, "bias", add_bias_kernel<T>, grid, dim3(kThreads), 0, static_cast<T*>(c.data), c.rows, c.columns,
         c.stride, static_cast<const Number<T>*>(bias));
}

}  // namespace

void add_bias(sigma_context& context, const sigma_matrix& c, const void* bias) {
  for_type(c.dtype, [&]<class T>(std::type_identity<T>) { add<T>(context, c, bias); });
}

}  // namespace sigma::cuda
