// Accuracy check of an SVD by products with a few random vectors, in float64. blockIdx.y is the problem.
#pragma once

#include <cmath>

#include "cuda/runtime/kernels/device.cuh"
#include "cuda/svd/types.h"

namespace sigma::cuda {

enum class SvdOperand { a, u, vt };

template <class T>
__device__ __forceinline__ const T* svd_operand(const SvdItem& item, SvdOperand which) {
  return static_cast<const T*>(which == SvdOperand::a ? item.a : which == SvdOperand::u ? item.u : item.vt);
}

// Component j of random vector v: a sign, so that every component of an error has full weight.
__device__ __forceinline__ double svd_sign(int v, int64_t j) {
  uint64_t x = static_cast<uint64_t>(j) * kProbes + static_cast<uint64_t>(v) + 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return ((x ^ (x >> 31)) & 1) != 0 ? 1.0 : -1.0;
}

// Input vectors of a product: `numbers` (kProbes, length) per item, or random signs if null.
struct SvdProbeInput {
  const double* numbers;
  __device__ double at(int64_t item, int v, int64_t j, int64_t length) const {
    return numbers == nullptr ? svd_sign(v, j) : numbers[(item * kProbes + v) * length + j];
  }
};

// out (kProbes, rows) = M x for M (rows, columns), times the item's unit if `scaled`, and times its unit and the row's
// singular value if `weighted`. Also squares (rows) = |row|² if given. One block per row.
template <class T>
__global__ void svd_rows_kernel(const SvdItem* items, SvdOperand which, int64_t rows, int64_t columns, SvdProbeInput x,
                                bool scaled, bool weighted, double* out, double* squares) {
  auto* const shared = shared_memory<double>();
  const SvdItem& item = items[blockIdx.y];
  const int64_t row = blockIdx.x;
  const T* const from = svd_operand<T>(item, which) + row * columns;
  const double unit = scaled ? item.unit : 1.0;
  double sums[kProbes + 1] = {};
  for (int64_t j = threadIdx.x; j < columns; j += blockDim.x) {
    const double value = static_cast<double>(from[j]) * unit;
    SIGMA_UNROLL
    for (int v = 0; v < kProbes; ++v) sums[v] += value * x.at(blockIdx.y, v, j, columns);
    sums[kProbes] += value * value;
  }
  SIGMA_UNROLL
  for (int v = 0; v <= kProbes; ++v) shared[v * blockDim.x + threadIdx.x] = sums[v];
  __syncthreads();
  const int v = static_cast<int>(threadIdx.x);
  if (v > kProbes) return;
  double sum = 0;
  for (unsigned t = 0; t < blockDim.x; ++t) sum += shared[v * blockDim.x + t];
  if (v == kProbes) {
    if (squares != nullptr) squares[blockIdx.y * rows + row] = sum;
    return;
  }
  const double weight = weighted ? static_cast<double>(static_cast<const T*>(item.s)[row]) * item.unit : 1.0;
  out[(static_cast<int64_t>(blockIdx.y) * kProbes + v) * rows + row] = sum * weight;
}

// out (kProbes, columns) = Mᵀ x for M (rows, columns). A block is (columns, rows) threads.
template <class T>
__global__ void svd_columns_kernel(const SvdItem* items, SvdOperand which, int64_t rows, int64_t columns,
                                   SvdProbeInput x, double* out) {
  auto* const shared = shared_memory<double>();
  const T* const from = svd_operand<T>(items[blockIdx.y], which);
  const int64_t j = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  double sums[kProbes] = {};
  if (j < columns) {
    for (int64_t i = threadIdx.y; i < rows; i += blockDim.y) {
      const double value = static_cast<double>(from[i * columns + j]);
      SIGMA_UNROLL
      for (int v = 0; v < kProbes; ++v) sums[v] += value * x.at(blockIdx.y, v, i, rows);
    }
  }
  const unsigned threads = blockDim.x * blockDim.y;
  const unsigned own = threadIdx.y * blockDim.x + threadIdx.x;
  SIGMA_UNROLL
  for (int v = 0; v < kProbes; ++v) shared[v * threads + own] = sums[v];
  __syncthreads();
  if (threadIdx.y >= kProbes || j >= columns) return;
  for (unsigned v = threadIdx.y; v < kProbes; v += blockDim.y) {
    double sum = 0;
    for (unsigned y = 0; y < blockDim.y; ++y) sum += shared[v * threads + y * blockDim.x + threadIdx.x];
    out[(static_cast<int64_t>(blockIdx.y) * kProbes + v) * columns + j] = sum;
  }
}

// Inputs of svd_sums_kernel. Each array holds one item after the other.
struct SvdProducts {
  const double* image;        // A z (kProbes, m)
  const double* squares;      // |row|² of A (m)
  const double* rebuilt;      // U diag(s) Vt z (kProbes, m)
  const double* u_returned;   // Uᵀ U w (kProbes, r)
  const double* vt_returned;  // Vt Vtᵀ w (kProbes, r)
};

// One block of kSvdSumThreads per item.
constexpr unsigned kSvdSumThreads = 128;
template <class T>
__global__ void svd_sums_kernel(const SvdItem* items, int64_t m, int64_t r, SvdProducts products, SvdSums* sums) {
  auto* const shared = shared_memory<SvdSums>();
  const int64_t item = blockIdx.y;
  const double unit = items[item].unit;
  const T* const s = static_cast<const T*>(items[item].s);
  SvdSums own = {};
  own.values_in_order = 1;
  SIGMA_UNROLL
  for (int v = 0; v < kProbes; ++v) {
    const int64_t first = (item * kProbes + v) * m;
    for (int64_t p = threadIdx.x; p < m; p += blockDim.x) {
      const double off = products.image[first + p] - products.rebuilt[first + p];
      own.residual[v] += off * off;
    }
    const int64_t begin = (item * kProbes + v) * r;
    for (int64_t p = threadIdx.x; p < r; p += blockDim.x) {
      const double wanted = svd_sign(v, p);
      const double u_off = products.u_returned[begin + p] - wanted;
      const double vt_off = products.vt_returned[begin + p] - wanted;
      own.u_deviation[v] += u_off * u_off;
      own.vt_deviation[v] += vt_off * vt_off;
    }
  }
  for (int64_t p = threadIdx.x; p < m; p += blockDim.x) own.squares += products.squares[item * m + p];
  for (int64_t j = threadIdx.x; j < r; j += blockDim.x) {
    const double value = static_cast<double>(s[j]);
    own.values += value * unit * (value * unit);
    const bool in_order = value >= 0 && value < INFINITY && (j == 0 || static_cast<double>(s[j - 1]) >= value);
    if (!in_order) own.values_in_order = 0;
  }
  shared[threadIdx.x] = own;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (unsigned t = 1; t < blockDim.x; ++t) {
    const SvdSums& other = shared[t];
    SIGMA_UNROLL
    for (int v = 0; v < kProbes; ++v) {
      own.residual[v] += other.residual[v];
      own.u_deviation[v] += other.u_deviation[v];
      own.vt_deviation[v] += other.vt_deviation[v];
    }
    own.squares += other.squares;
    own.values += other.values;
    if (other.values_in_order == 0) own.values_in_order = 0;
  }
  sums[item] = own;
}

}  // namespace sigma::cuda
