#include <algorithm>

#include "bias.h"
#include "kernels/bias.cuh"
#include "launch.h"

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

void add_bias(sigma_context& context, sigma_dtype dtype, const sigma_matrix& c, const void* bias) {
  if (dtype == SIGMA_FLOAT64) {
    add<double>(context, c, bias);
  } else if (dtype == SIGMA_FLOAT32) {
    add<float>(context, c, bias);
  } else {
    add<bfloat16>(context, c, bias);
  }
}

}  // namespace sigma::cuda
