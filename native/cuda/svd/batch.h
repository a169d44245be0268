// A few problems of one shape, which go through every step together.
#pragma once

#include <algorithm>
#include <vector>

#include "cuda/svd/lane.h"
#include "cuda/svd/types.h"

namespace sigma::cuda {

struct SvdShape {
  int64_t m, n;
  auto operator<=>(const SvdShape&) const = default;

  int64_t r() const { return std::min(m, n); }
  int64_t size() const { return m * n; }
  // Routines see the tall one of A and Aᵀ, by columns. A wide or square A by rows is that already.
  bool tall() const { return m > n; }
  int64_t rows() const { return std::max(m, n); }
  int64_t columns() const { return r(); }
};

class SvdBatch {
 public:
  SvdBatch(const SvdLane& lane_, SvdShape shape_, const std::vector<SvdItem>& host)
      : lane(lane_), shape(shape_), count(static_cast<int64_t>(host.size())), items_(lane_, host) {}

  const SvdLane& lane;
  const SvdShape shape;
  const int64_t count;
  const SvdItem* items() const { return items_.data(); }

 private:
  SvdNumbers<SvdItem> items_;
};

// ── passes over a batch, in svd_passes.cu ────────────────────────────────────────────────────────────────

template <class T>
std::vector<SvdRange> svd_ranges(const SvdBatch& batch);

// s = 0, u and vt parts of the identity.
template <class T>
void svd_zero(const SvdBatch& batch);

// `to` receives (rows, columns) by columns for each problem, one after the other.
template <class T, class W>
void svd_load(const SvdBatch& batch, W* to);

// Takes a routine's answer: `values` (columns), and the vectors of the long and the short side. Sorts it, brings it
// into place and fixes its signs.
template <class T, class W>
void svd_store(const SvdBatch& batch, const W* values, const SvdVectors<W>& long_side, const SvdVectors<W>& short_side);

template <class T>
std::vector<SvdSums> svd_sums(const SvdBatch& batch);

// V (columns, columns) with its columns in the opposite order.
void svd_reverse_columns(const SvdBatch& batch, double* v);
// values (columns) = the diagonal of C (rows, columns).
void svd_diagonal(const SvdBatch& batch, const double* c, double* values);

}  // namespace sigma::cuda
