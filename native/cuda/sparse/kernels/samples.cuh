// partials[s, p] = Σ_t a[i_p, t] b[j_p, t] over the tokens t of split s; a and b (r, N), entry p of the pattern at row
// i_p and column j_p. Overwrites. With one split, `partials` is the output; else sum_partials_kernel adds them up.
//
// A warp takes a split and a row, or a few rows of a band. Each lane accumulates the sums of some entries over the
// tokens; the warp reduces them at the end.
#pragma once

#include "cuda/runtime/kernels/reduce.cuh"
#include "cuda/sparse/kernels/band.cuh"

namespace sigma::cuda {

template <class T>
struct Sampling {
  int64_t rows;          // r
  int64_t tokens;        // N
  int64_t split_tokens;  // of one split; the last may have fewer
  const T* a;
  int64_t a_stride;
  const T* b;
  int64_t b_stride;
  bool aligned;  // whether every row of both, and every split, is aligned to 16 bytes
  int64_t entries;
  const int32_t* pointers;  // (r + 1)
  const int32_t* indices;   // (z)
  Number<T>* partials;      // (splits, z)
};

template <class V, int kCount>
__device__ __forceinline__ void add_dot(const V (&a)[kCount], const V (&b)[kCount], V& sum) {
  SIGMA_UNROLL
  for (int l = 0; l < kCount; ++l) sum += a[l] * b[l];
}

// ── any pattern ──────────────────────────────────────────────────────────────────────────────────────────

constexpr int kGroup = 8;  // entries of a row per pass over the tokens

template <bool kWhole, class T>
__device__ __forceinline__ void sample_row_tile(const Sampling<T>& p, int64_t i, int32_t first, int32_t end,
                                                int64_t token, Span span, Number<T> (&sums)[kGroup]) {
  Number<T> a[kPerVector<T>];
  load_tile<kWhole>(p.a + i * p.a_stride + token, span, a);
  SIGMA_UNROLL
  for (int k = 0; k < kGroup; ++k) {
    if (first + k < end) {
      Number<T> b[kPerVector<T>];
      load_tile<kWhole>(p.b + p.indices[first + k] * p.b_stride + token, span, b);
      add_dot(a, b, sums[k]);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kWarpSize* kWarps) samples_kernel(Sampling<T> p) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.y;
  if (i >= p.rows) return;
  const int64_t split_begin = static_cast<int64_t>(blockIdx.y) * p.split_tokens;
  const int64_t split_end = split_begin + p.split_tokens < p.tokens ? split_begin + p.split_tokens : p.tokens;
  const int32_t end = p.pointers[i + 1];
  for (int32_t first = p.pointers[i]; first < end; first += kGroup) {
    Number<T> sums[kGroup] = {};
    for (int64_t t = split_begin; t < split_end; t += kTile<T>) {
      const Span span = span_at<T>(t, split_end, p.aligned);
      if (is_whole<T>(span)) {
        sample_row_tile<true>(p, i, first, end, t, span, sums);
      } else {
        sample_row_tile<false>(p, i, first, end, t, span, sums);
      }
    }
    const Number<T> sum = reduce_lanes(sums);
    constexpr int kSharers = kWarpSize / kGroup;
    const int lane = static_cast<int>(threadIdx.x);
    const int32_t entry = first + lane / kSharers;
    if (lane % kSharers == 0 && entry < end) p.partials[blockIdx.y * p.entries + entry] = sum;
  }
}

// ── a band ───────────────────────────────────────────────────────────────────────────────────────────────

// A warp computes kBandRows x kBandColumns dot products per pass over the tokens.
constexpr int kBandRows = 4;
constexpr int kBandColumns = 4;
constexpr int kBandDots = kBandRows * kBandColumns;

// sums[4 k + c] += a[first + k, tile] b[column + c, tile]
template <bool kWhole, class T>
__device__ __forceinline__ void sample_band_tile(const Sampling<T>& p, int64_t first, int32_t column, int32_t end,
                                                 int64_t token, Span span, Number<T> (&sums)[kBandDots]) {
  Number<T> a[kBandRows][kPerVector<T>];
  SIGMA_UNROLL
  for (int k = 0; k < kBandRows; ++k) {
    const int64_t i = first + k < p.rows ? first + k : p.rows - 1;
    load_tile<kWhole>(p.a + i * p.a_stride + token, span, a[k]);
  }
  SIGMA_UNROLL
  for (int c = 0; c < kBandColumns; ++c) {
    if (column + c < end) {
      Number<T> b[kPerVector<T>];
      load_tile<kWhole>(p.b + (column + c) * p.b_stride + token, span, b);
      SIGMA_UNROLL
      for (int k = 0; k < kBandRows; ++k) add_dot(a[k], b, sums[k * kBandColumns + c]);
    }
  }
}

template <class T>
__global__ void __launch_bounds__(kWarpSize* kWarps, 2) band_samples_kernel(Sampling<T> p) {
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.y) * kBandRows;
  if (first >= p.rows) return;
  const int64_t split_begin = static_cast<int64_t>(blockIdx.y) * p.split_tokens;
  const int64_t split_end = split_begin + p.split_tokens < p.tokens ? split_begin + p.split_tokens : p.tokens;
  const int64_t last = first + kBandRows < p.rows ? first + kBandRows - 1 : p.rows - 1;
  const int32_t end = p.indices[p.pointers[last + 1] - 1] + 1;
  for (int32_t column = p.indices[p.pointers[first]]; column < end; column += kBandColumns) {
    Number<T> sums[kBandDots] = {};
    SIGMA_UNROLL_BY(1)
    for (int64_t t = split_begin; t < split_end; t += kTile<T>) {
      const Span span = span_at<T>(t, split_end, p.aligned);
      if (is_whole<T>(span)) {
        sample_band_tile<true>(p, first, column, end, t, span, sums);
      } else {
        sample_band_tile<false>(p, first, column, end, t, span, sums);
      }
    }
    const Number<T> sum = reduce_lanes(sums);
    // The row and column of the lane's sum. It is an entry if the row's run contains the column.
    constexpr int kSharers = kWarpSize / kBandDots;
    const int lane = static_cast<int>(threadIdx.x);
    const int64_t i = first + lane / (kSharers * kBandColumns);
    if (lane % kSharers == 0 && i < p.rows) {
      const int32_t j = column + lane / kSharers % kBandColumns;
      const Runs<1> run = runs_of<1>(p.pointers, p.indices, i, p.rows);
      if (j >= run.begin[0] && j < run.end[0]) p.partials[blockIdx.y * p.entries + run.offset[0] + j] = sum;
    }
  }
}

}  // namespace sigma::cuda
