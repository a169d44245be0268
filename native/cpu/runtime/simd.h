// The CPU kernels, compiled from rows.inc and kernels.inc once per instruction set. The first use selects the best set
// that the machine supports.
#pragma once

#include <cstdint>

#include "contract/backend.h"

namespace sigma::cpu {

// Stored numbers of 16 bits. Kernels compute with float32.
struct bfloat16 {
  uint16_t bits;
};
struct float16 {
  uint16_t bits;
};

// What kernels compute with, for stored numbers of type S.
template <class S>
struct RealOf {
  using Of = S;
};
template <>
struct RealOf<bfloat16> {
  using Of = float;
};
template <>
struct RealOf<float16> {
  using Of = float;
};
template <class S>
using Real = typename RealOf<S>::Of;

// One row of out = diagonal · own + g · M dense. The row of M is sparse. If `own` is null, the diagonal is 0.
template <class S>
struct SparseRow {
  Real<S> diagonal;
  const S* own;
  int64_t entries;
  const int32_t* indices;  // (entries)
  const Real<S>* values;   // (entries)
  S* out;
};

// Rows of a band per kernel call, and columns of a tile of dot products.
constexpr int kBandRows = 4;

// Number of random vectors in the SVD accuracy check.
constexpr int kProbes = 4;

// Columns of a block: (rows, kBlockWidth) by rows. Each row of float32 numbers is a cache line.
constexpr int kBlockWidth = 16;

// Kernels on rows of stored numbers. Strides are in elements. Every row has `count` numbers. The `wide` kernels read
// `dense` as it was widened.
template <class S>
struct RowKernels {
  using T = Real<S>;
  // out[t] = diagonal · own[t] + g · Σ_q values[q] · dense[indices[q] · stride + t]
  void (*gather)(int64_t count, const SparseRow<S>* row, T g, const S* dense, int64_t stride);
  void (*gather_wide)(int64_t count, const SparseRow<S>* row, T g, const T* dense, int64_t stride);
  // The same for kBandRows consecutive rows of a band: no row is empty, and neither end moves left from row to row.
  void (*band)(int64_t count, const SparseRow<S>* rows, T g, const S* dense, int64_t stride);
  // sums[q] += Σ_t a[t] · dense[indices[q] · stride + t], in an order fixed by count.
  void (*dots)(int64_t count, const S* a, int64_t entries, const int32_t* indices, const S* dense, int64_t stride,
               T* sums);
  void (*dots_wide)(int64_t count, const S* a, int64_t entries, const int32_t* indices, const T* dense, int64_t stride,
                    T* sums);
  // sums[i · kBandRows + j] = Σ_t a[i][t] · b[j][t] for kBandRows rows of each, in the same order.
  void (*tile_dots)(int64_t count, const S* const* a, const S* const* b, T* sums);
  // Σ_t a[t] · b[t] in an order fixed by count.
  T (*dot)(int64_t count, const S* a, const S* b);
  // sums[j] += a[j]
  void (*add)(int64_t count, const S* a, T* sums);
  // to[t] = from[t]; narrow rounds to nearest, ties to even.
  void (*widen)(int64_t count, const S* from, T* to);
  void (*narrow)(int64_t count, const T* from, S* to);
  // to[t] = column `first` + t of a row with these codes and a scale for each SIGMA_SCALE_GROUP of them.
  void (*scaled)(int64_t count, int64_t first, const int8_t* codes, const float* scales, S* to);
};

// All pointers are to T. Strides are in elements. Every row has `count` numbers.
template <class T>
struct Kernels {
  // w[t] += Σ_k x[k] · a[k · stride + t] and sums[k] = Σ_t v[t] · b[k · stride + t] for k = 0 … 3; a may equal b.
  void (*sweep)(int64_t count, int64_t stride, const T* a, const T* x, T* w, const T* b, const T* v, T* sums);
  // The largest |a[t]|; NaN if any number is not finite.
  T (*largest_magnitude)(int64_t count, const T* a);
  // With b = unit · a for a (rows, count), in float64: sums[i][v] += Σ_t b[i][t] · x[v][t] for kProbes vectors x, and
  // sums[i][kProbes] += Σ_t b[i][t]².
  void (*probe_dots)(int64_t rows, int64_t count, const T* a, int64_t stride, double unit, const double* x,
                     int64_t x_stride, double (*sums)[kProbes + 1]);
  // y[v][t] += Σ_i factors[i][v] · a[i][t] for kProbes vectors y, in float64.
  void (*probe_add)(int64_t rows, int64_t count, const T* a, int64_t stride, const double (*factors)[kProbes],
                    double* y, int64_t y_stride);
  // sums (kBlockWidth, kBlockWidth) += aᵀ x, for blocks a and x of `count` rows.
  void (*block_inner)(int64_t count, const T* a, const T* x, T* sums);
  // to = alpha a c [+ to if accumulate], for blocks a and to of `count` rows, a multiple of kBlockWidth, and c
  // (kBlockWidth, kBlockWidth); `to` may be a.
  void (*block_multiply)(int64_t count, const T* a, const T* c, T alpha, bool accumulate, T* to);
  void (*adamw)(int64_t count, const sigma_adamw* options, T* parameter, const T* gradient, T* m, T* v);
  void (*sgd)(int64_t count, const sigma_sgd* options, T* parameter, const T* gradient, T* momentum_buffer);
  // The secular equation, at σ = pole + offset; rounding is relative to dⱼ - pole - offset. sums[0] = Σ squaresⱼ / (dⱼ²
  // - σ²), and sums[1] is its derivative by σ².
  void (*secular_sums)(int64_t count, const T* d, const T* squares, T pole, T offset, T* sums);
  // products[j] = dⱼ² - σ²
  void (*secular_products)(int64_t count, const T* d, T pole, T offset, T* products);
  // z[j] *= products[j] / (dⱼ² - pole²)
  void (*secular_ratios)(int64_t count, const T* d, T pole, const T* products, T* z);
  // vector[j] = unit z[j] / products[j]; returns the sum of squares.
  T (*secular_vector)(int64_t count, const T* z, T unit, const T* products, T* vector);
};

template <class T>
const Kernels<T>& kernels();
template <class S>
const RowKernels<S>& row_kernels();

// The instruction sets that kernels are compiled for, each a superset of the ones before.
enum class Level { baseline, avx2, avx512, avx512bf16 };
Level level();

// "baseline", "avx2", "avx512" or "avx512bf16".
const char* simd_level();

}  // namespace sigma::cpu
