// The norm of many vectors, and their product with a number.
#pragma once

#include "cuda/optim/kernels/optim.cuh"
#include "cuda/runtime/kernels/reduce.cuh"
#include "cuda/runtime/kernels/ticket.cuh"

namespace sigma::cuda {

// Sums of squares, of large and small numbers apart and scaled (Blue 1978, and LAPACK's dnrm2).
struct SquareSums {
  double large;  // (scale_down x)² of |x| > kLarge
  double middle;
  double small;  // (scale_up x)² of |x| < kSmall
};
constexpr double kLarge = 0x1p486, kScaleDown = 0x1p-538;
constexpr double kSmall = 0x1p-511, kScaleUp = 0x1p537;

__device__ __forceinline__ void add_square(SquareSums& sums, double x) {
  const double size = x < 0 ? -x : x;
  if (size > kLarge) {
    sums.large += size * kScaleDown * (size * kScaleDown);
  } else if (size < kSmall) {
    sums.small += size * kScaleUp * (size * kScaleUp);
  } else {
    sums.middle += size * size;  // NaN too
  }
}

// The block's sums, for thread (0, 0). `memory` is shared, for 3 kWarps numbers.
__device__ __forceinline__ SquareSums reduce_block(const SquareSums& sums, double* memory) {
  return {reduce_block(sums.large, memory), reduce_block(sums.middle, memory + kWarps),
          reduce_block(sums.small, memory + 2 * kWarps)};
}

// Overwrites *total; parts (blocks). A block takes 256 vectors of 16 bytes of one tensor's `gradient`. Shared memory:
// 16 bytes for a ticket, and 3 kWarps numbers.
template <class T, int most>
__global__ void __launch_bounds__(kStepThreads) norm_kernel(const SIGMA_IN_PLACE StepTensors<T, most> tensors,
                                                            SquareSums* parts, unsigned* counter, SquareSums* total) {
  auto* const memory = shared_memory<unsigned char>();
  auto* const ticket = reinterpret_cast<unsigned*>(memory);
  auto* const numbers = reinterpret_cast<double*>(memory + 16);
  const StepTensor<T>& tensor = tensor_of_block(tensors);
  const unsigned thread = threadIdx.y * kWarpSize + threadIdx.x;
  const int64_t first = (static_cast<int64_t>(blockIdx.x - tensor.first_block) * kStepThreads + thread) * kPerVector<T>;
  SquareSums sums = {};
  if (first < tensor.count) {
    const int left = left_of(tensor, first);
    T x[kPerVector<T>];
    load_vector(tensor.gradient + first, left, tensor.aligned, x);
    SIGMA_UNROLL
    for (int l = 0; l < kPerVector<T>; ++l) add_square(sums, static_cast<double>(x[l]));
  }
  const bool leader = threadIdx.x == 0 && threadIdx.y == 0;
  const SquareSums of_block = reduce_block(sums, numbers);
  if (leader) parts[blockIdx.x] = of_block;
  if (!is_last_block(counter, gridDim.x, ticket)) return;
  SquareSums all = {};
  for (unsigned b = thread; b < gridDim.x; b += kStepThreads) {
    all.large += parts[b].large;
    all.middle += parts[b].middle;
    all.small += parts[b].small;
  }
  const SquareSums of_grid = reduce_block(all, numbers);
  if (leader) *total = of_grid;
}

template <class T, int most>
__global__ void __launch_bounds__(kStepThreads)
    scale_kernel(double factor, const SIGMA_IN_PLACE StepTensors<T, most> tensors) {
  const StepTensor<T>& tensor = tensor_of_block(tensors);
  const int64_t first = first_of_thread(tensor);
  if (first >= tensor.count) return;
  const int left = left_of(tensor, first);
  T x[kPerVector<T>];
  load_vector(static_cast<const T*>(tensor.parameter) + first, left, tensor.aligned, x);
  SIGMA_UNROLL
  for (int l = 0; l < kPerVector<T>; ++l) x[l] = static_cast<T>(static_cast<double>(x[l]) * factor);
  store_vector(tensor.parameter + first, left, tensor.aligned, x);
}

}  // namespace sigma::cuda
