// out (r, N) = C dense, dense (r, N), for a banded M: each row is one run of columns whose ends never move left from
// row to row. Overwrites.
//
// A register stencil: a warp takes kRows rows and a tile of tokens, loads each of their columns once and adds it to the
// rows that contain it. The warps of a block take consecutive rows, so that shared columns hit the L1 cache. Wide bands
// of bfloat16 would be faster as overlapping dense blocks on tensor cores.
#pragma once

#include "cuda/sparse/kernels/product.cuh"

namespace sigma::cuda {

// The runs of kRows rows: row k has columns [begin[k], end[k]); column j's value is in slot offset[k] + j.
template <int kRows>
struct Runs {
  int32_t begin[kRows];
  int32_t end[kRows];
  int32_t offset[kRows];
};

// Rows beyond the last repeat the last.
template <int kRows>
__device__ __forceinline__ Runs<kRows> runs_of(const int32_t* pointers, const int32_t* indices, int64_t first,
                                               int64_t rows) {
  Runs<kRows> runs;
  SIGMA_UNROLL
  for (int k = 0; k < kRows; ++k) {
    const int64_t i = first + k < rows ? first + k : rows - 1;
    const int32_t slot = pointers[i];
    runs.begin[k] = indices[slot];
    runs.end[k] = runs.begin[k] + (pointers[i + 1] - slot);
    runs.offset[k] = slot - runs.begin[k];
  }
  return runs;
}

// sums[k] += value(k, j) dense[j, tile]; kAll implies that all runs contain column j.
template <bool kAll, bool kWhole, class T, int kRows>
__device__ __forceinline__ void add_column(const Product<T>& p, const Runs<kRows>& runs, int32_t j, int64_t token,
                                           Span span, Number<T> (&sums)[kRows][kPerVector<T>]) {
  Number<T> x[kPerVector<T>];
  load_tile<kWhole>(p.dense + j * p.dense_stride + token, span, x);
  SIGMA_UNROLL
  for (int k = 0; k < kRows; ++k) {
    if (kAll || (j >= runs.begin[k] && j < runs.end[k])) {
      const Number<T> value = p.values[runs.offset[k] + j];
      SIGMA_UNROLL
      for (int l = 0; l < kPerVector<T>; ++l) sums[k][l] += value * x[l];
    }
  }
}

template <bool kWhole, class T, int kRows>
__device__ __forceinline__ void band_tile(const Product<T>& p, const Runs<kRows>& runs, int64_t first, int64_t token,
                                          Span span, Number<T> g) {
  Number<T> sums[kRows][kPerVector<T>] = {};
  // From the last run's begin to the first run's end, all runs overlap.
  const int32_t inner = runs.begin[kRows - 1];
  const int32_t outer = inner > runs.end[0] ? inner : runs.end[0];
  int32_t j = runs.begin[0];
  SIGMA_UNROLL_BY(kWhole && kRows <= 4 ? 2 : 1)
  for (; j < inner; ++j) add_column<false, kWhole>(p, runs, j, token, span, sums);
  SIGMA_UNROLL_BY(kWhole && kRows <= 4 ? 2 : 1)
  for (; j < outer; ++j) add_column<true, kWhole>(p, runs, j, token, span, sums);
  SIGMA_UNROLL_BY(kWhole && kRows <= 4 ? 2 : 1)
  for (; j < runs.end[kRows - 1]; ++j) add_column<false, kWhole>(p, runs, j, token, span, sums);
  SIGMA_UNROLL
  for (int k = 0; k < kRows; ++k) {
    if (first + k < p.rows) finish_row<kWhole>(p, first + k, token, span, g, sums[k]);
  }
}

template <class T, int kRows>
__global__ void __launch_bounds__(kWarpSize* kWarps, 2) band_kernel(Product<T> p) {
  const int64_t first = warp_row(p) * kRows;
  if (first >= p.rows) return;
  const Number<T> g = gate_factor(p.gate);
  const Runs<kRows> runs = runs_of<kRows>(p.pointers, p.indices, first, p.rows);
  const int64_t t = first_token(p);
  const Span span = span_at<T>(t, p.tokens, p.aligned);
  if (is_whole<T>(span)) {
    band_tile<true>(p, runs, first, t, span, g);
  } else {
    band_tile<false>(p, runs, first, t, span, g);
  }
}

}  // namespace sigma::cuda
