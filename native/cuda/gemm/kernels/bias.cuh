// c (rows, columns) += bias (columns) on every row: for products whose library routine cannot add the bias.
#pragma once

#include "cuda/runtime/kernels/device.cuh"

namespace sigma::cuda {

template <class T>
__global__ void add_bias_kernel(T* c, int64_t rows, int64_t columns, int64_t stride, const Number<T>* bias) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  const Number<T> addend = bias[column];
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    T& entry = c[row * stride + column];
    entry = narrowed<T>(widened(entry) + addend);
  }
}

}  // namespace sigma::cuda
