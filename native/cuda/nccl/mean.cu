#include "cuda/nccl/kernels/mean.cuh"
#include "cuda/nccl/mean.h"
#include "cuda/runtime/dispatch.h"

namespace sigma::cuda {

void mean_of(cudaStream_t stream, sigma_real real, const void* vectors, int64_t ranks, int64_t count, void* means) {
  if (count == 0) return;
  for_real(real, [&]<class T>(std::type_identity<T>) {
    launch_on(stream, "mean", mean_kernel<T>, flat_grid(count), dim3(256), 0, static_cast<const T*>(vectors), ranks,
              count, static_cast<T*>(means));
  });
}

}  // namespace sigma::cuda
