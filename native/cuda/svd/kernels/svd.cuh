// Kernels around a library's SVD: layout conversion, sorting and signs. blockIdx.y is the problem; all have one shape.
#pragma once

#include <cmath>

#include "contract/svd_limits.h"
#include "cuda/runtime/kernels/device.cuh"
#include "cuda/svd/types.h"

namespace sigma::cuda {

constexpr int kSvdTile = 32;
constexpr int kSvdTileRows = 8;  // rows of threads; each thread does kSvdTile / kSvdTileRows elements

// ── inspection of the input ──────────────────────────────────────────────────────────────────────────────

__device__ __forceinline__ void merge(SvdRange& into, const SvdRange& other) {
  if (other.largest > into.largest) into.largest = other.largest;
  const int64_t first = other.first_non_finite;
  if (first >= 0 && (into.first_non_finite < 0 || first < into.first_non_finite)) into.first_non_finite = first;
}

// One range per block; grid (blocks, items).
template <class T>
__global__ void svd_range_kernel(const SvdItem* items, int64_t size, SvdRange* ranges) {
  auto* const shared = shared_memory<SvdRange>();
  const T* const a = static_cast<const T*>(items[blockIdx.y].a);
  SvdRange range = {0, -1};
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += step) {
    const double value = fabs(static_cast<double>(a[i]));
    // Also true for NaN.
    if (!(value < INFINITY)) merge(range, {0, i});
    if (value > range.largest) range.largest = value;
  }
  shared[threadIdx.x] = range;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (unsigned other = 1; other < blockDim.x; ++other) merge(range, shared[other]);
  ranges[static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x] = range;
}

// Merges the ranges of an item's blocks; one thread per item.
template <class Range>
__global__ void svd_merge_ranges_kernel(const Range* parts, int blocks, int64_t count, Range* ranges) {
  const int64_t item = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (item >= count) return;
  Range range = {0, -1};
  for (int block = 0; block < blocks; ++block) merge(range, parts[item * blocks + block]);
  ranges[item] = range;
}

// ── input of a routine: the taller of A and Aᵀ, column-major (rows, columns) ─────────────────────────────

// A wide or square row-major A already is a column-major tall Aᵀ.
template <class T, class W>
__global__ void svd_load_kernel(const SvdItem* items, int64_t size, W* to) {
  const SvdItem& item = items[blockIdx.y];
  const T* const a = static_cast<const T*>(item.a);
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < size; i += step) {
    to[blockIdx.y * size + i] = static_cast<W>(static_cast<double>(a[i]) * item.scale);
  }
}

// Transposes a tile of a (rows, columns) matrix through shared memory. Elements are read by `read(row, column)` and
// written by `write(row, column, value)`. In blockIdx.x, the row of tiles varies fastest.
template <class W, class Read, class Write>
__device__ __forceinline__ void transpose_tile(int64_t rows, int64_t columns, Read read, Write write) {
  W* const tile = shared_memory<W>();
  const int64_t tiles = (rows + kSvdTile - 1) / kSvdTile;
  const int64_t row0 = blockIdx.x % tiles * kSvdTile, column0 = blockIdx.x / tiles * kSvdTile;
  for (int y = static_cast<int>(threadIdx.y); y < kSvdTile; y += kSvdTileRows) {
    const int64_t row = row0 + y, column = column0 + threadIdx.x;
    if (row < rows && column < columns) tile[y * (kSvdTile + 1) + threadIdx.x] = read(row, column);
  }
  __syncthreads();
  for (int y = static_cast<int>(threadIdx.y); y < kSvdTile; y += kSvdTileRows) {
    const int64_t row = row0 + threadIdx.x, column = column0 + y;
    if (row < rows && column < columns) write(row, column, tile[threadIdx.x * (kSvdTile + 1) + y]);
  }
}

// A tall row-major A.
template <class T, class W>
__global__ void svd_load_transposed_kernel(const SvdItem* items, int64_t rows, int64_t columns, W* to) {
  const SvdItem item = items[blockIdx.y];
  const T* const a = static_cast<const T*>(item.a);
  W* const base = to + blockIdx.y * rows * columns;
  transpose_tile<W>(
      rows, columns,
      [&](int64_t i, int64_t j) { return static_cast<W>(static_cast<double>(a[i * columns + j]) * item.scale); },
      [&](int64_t i, int64_t j, W value) { base[j * rows + i] = value; });
}

// ── output of a routine ──────────────────────────────────────────────────────────────────────────────────

// order[rank] = index, by descending magnitude, stable. `order` must be zeroed: a NaN leaves elements unset.
template <class W>
__global__ void svd_order_kernel(const W* values, int64_t count, int* order) {
  const int64_t j = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (j >= count) return;
  const W* const v = values + blockIdx.y * count;
  const W own = fabs(v[j]);
  int64_t rank = 0;
  for (int64_t k = 0; k < count; ++k) {
    const W other = fabs(v[k]);
    rank += other > own || (other == own && k < j) ? 1 : 0;
  }
  order[blockIdx.y * count + rank] = static_cast<int>(j);
}

template <class W, class T>
__global__ void svd_values_kernel(const SvdItem* items, const W* values, int64_t count, const int* order) {
  const int64_t j = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (j >= count) return;
  const SvdItem& item = items[blockIdx.y];
  const int64_t first = blockIdx.y * count;
  const double value = fabs(static_cast<double>(values[first + order[first + j]]));
  static_cast<T*>(item.s)[j] = static_cast<T>(value / item.scale);
}

template <class W>
__device__ __forceinline__ W component_of(const SvdVectors<W>& from, int64_t b, int64_t i, int64_t k, int64_t count) {
  const W value = from.data[b * from.item + i * from.component + k * from.vector];
  return from.signs != nullptr && from.signs[b * count + k] < 0 ? -value : value;
}

// Stores to u (length, count) or vt (count, length) if source and target have the same memory order.
template <class W, class T>
__global__ void svd_store_kernel(const SvdItem* items, bool to_u, SvdVectors<W> from, int64_t length, int64_t count,
                                 const int* order) {
  const SvdItem& item = items[blockIdx.y];
  T* const to = static_cast<T*>(to_u ? item.u : item.vt);
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t p = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; p < length * count; p += step) {
    const int64_t i = to_u ? p / count : p % length;
    const int64_t j = to_u ? p % count : p / length;
    to[p] = static_cast<T>(component_of(from, blockIdx.y, i, order[blockIdx.y * count + j], count));
  }
}

// The same if source and target have opposite memory orders.
template <class W, class T>
__global__ void svd_store_transposed_kernel(const SvdItem* items, bool to_u, SvdVectors<W> from, int64_t length,
                                            int64_t count, const int* order) {
  const SvdItem& item = items[blockIdx.y];
  T* const to = static_cast<T*>(to_u ? item.u : item.vt);
  const int* const own_order = order + blockIdx.y * count;
  if (to_u) {
    transpose_tile<W>(
        count, length, [&](int64_t j, int64_t i) { return component_of(from, blockIdx.y, i, own_order[j], count); },
        [&](int64_t j, int64_t i, W value) { to[i * count + j] = static_cast<T>(value); });
  } else {
    transpose_tile<W>(
        length, count, [&](int64_t i, int64_t j) { return component_of(from, blockIdx.y, i, own_order[j], count); },
        [&](int64_t i, int64_t j, W value) { to[j * length + i] = static_cast<T>(value); });
  }
}

// ── signs ────────────────────────────────────────────────────────────────────────────────────────────────

// negative[j]: whether the first entry of u's column j whose magnitude is one of the largest (kSvdTie) is negative.
// A block is (columns, rows) threads.
template <class T>
struct SvdEntry {
  T value;
  int64_t row;
};

template <class T>
__global__ void svd_signs_kernel(const SvdItem* items, int64_t rows, int64_t columns, int* negative) {
  auto* const shared = shared_memory<SvdEntry<T>>();
  const T* const u = static_cast<const T*>(items[blockIdx.y].u);
  const int64_t j = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const unsigned own = threadIdx.y * blockDim.x + threadIdx.x;
  T least = 0;
  if (j < columns) {
    for (int64_t i = threadIdx.y; i < rows; i += blockDim.y) {
      const T size = fabs(u[i * columns + j]);
      if (size > least) least = size;
    }
  }
  shared[own] = {least, 0};
  __syncthreads();
  for (unsigned y = 0; y < blockDim.y; ++y) {
    const T other = shared[y * blockDim.x + threadIdx.x].value;
    if (other > least) least = other;
  }
  least *= static_cast<T>(kSvdTie);
  __syncthreads();
  SvdEntry<T> first = {1, rows};
  if (j < columns) {
    for (int64_t i = threadIdx.y; i < rows && first.row == rows; i += blockDim.y) {
      const T value = u[i * columns + j];
      if (fabs(value) >= least) first = {value, i};
    }
  }
  shared[own] = first;
  __syncthreads();
  if (threadIdx.y != 0 || j >= columns) return;
  for (unsigned y = 1; y < blockDim.y; ++y) {
    const SvdEntry<T> other = shared[y * blockDim.x + threadIdx.x];
    if (other.row < first.row) first = other;
  }
  negative[blockIdx.y * columns + j] = first.value < 0 ? 1 : 0;
}

template <class T>
__global__ void svd_flip_kernel(const SvdItem* items, int64_t m, int64_t n, int64_t r, const int* negative) {
  const SvdItem& item = items[blockIdx.y];
  T* const u = static_cast<T*>(item.u);
  T* const vt = static_cast<T*>(item.vt);
  const int* const own = negative + blockIdx.y * r;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (int64_t p = first; p < m * r; p += step) {
    if (own[p % r] != 0) u[p] = -u[p];
  }
  for (int64_t p = first; p < r * n; p += step) {
    if (own[p / n] != 0) vt[p] = -vt[p];
  }
}

// ── steps of the Gram route ──────────────────────────────────────────────────────────────────────────────

// Reverses the columns of V (n, n): syevd sorts by ascending eigenvalues.
template <class W>
__global__ void svd_reverse_columns_kernel(W* v, int64_t n) {
  W* const own = v + blockIdx.y * n * n;
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t p = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; p < n * (n / 2); p += step) {
    const int64_t i = p % n, j = p / n;
    W& a = own[j * n + i];
    W& b = own[(n - 1 - j) * n + i];
    const W kept = a;
    a = b;
    b = kept;
  }
}

// values[j] = R[j, j], where R is in the upper triangle of C (rows, columns), or *= if `multiplies`.
template <class W>
__global__ void svd_diagonal_kernel(const W* c, int64_t rows, int64_t columns, bool multiplies, W* values) {
  const int64_t j = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (j >= columns) return;
  const W number = c[blockIdx.y * rows * columns + j * rows + j];
  W& value = values[blockIdx.y * columns + j];
  value = multiplies ? value * number : number;
}

// squares[j] = Σ_i (G[i, j] - I[i, j])²; G (n, n). A block takes a column. Shared memory: a number per thread, whose
// count is a power of 2.
template <class W>
__global__ void svd_deviation_kernel(const W* g, int64_t n, W* squares) {
  auto* const shared = shared_memory<W>();
  const int64_t j = blockIdx.x;
  const W* const column = g + (blockIdx.y * n + j) * n;
  W sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    const W deviation = column[i] - static_cast<W>(i == j ? 1 : 0);
    sum += deviation * deviation;
  }
  shared[threadIdx.x] = sum;
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) shared[threadIdx.x] += shared[threadIdx.x + half];
  }
  if (threadIdx.x == 0) squares[blockIdx.y * n + j] = shared[0];
}

// ── the SVD of zero ──────────────────────────────────────────────────────────────────────────────────────

template <class T>
__global__ void svd_zero_kernel(const SvdItem* items, int64_t m, int64_t n, int64_t r) {
  const SvdItem& item = items[blockIdx.y];
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (int64_t p = first; p < m * r; p += step) static_cast<T*>(item.u)[p] = static_cast<T>(p / r == p % r ? 1 : 0);
  for (int64_t p = first; p < r * n; p += step) static_cast<T*>(item.vt)[p] = static_cast<T>(p / n == p % n ? 1 : 0);
  for (int64_t p = first; p < r; p += step) static_cast<T*>(item.s)[p] = static_cast<T>(0);
}

}  // namespace sigma::cuda
