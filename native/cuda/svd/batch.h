// A batch of problems of one shape.
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
  // Routines get the taller of A and Aᵀ, column-major. A wide or square row-major A already is a column-major tall Aᵀ.
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

// ── kernels over a batch, in passes.cu ───────────────────────────────────────────────────────────────────

template <class T>
std::vector<SvdRange> svd_ranges(const SvdBatch& batch);

// The SVD of zero matrices: s = 0; u and vt are leading parts of the identity.
template <class T>
void svd_zero(const SvdBatch& batch);

// Copies each matrix to `to`, scaled: column-major (rows, columns), one after the other.
template <class T, class W>
void svd_load(const SvdBatch& batch, W* to);

// Stores a routine's answer, `values` (columns) and the singular vectors of the longer and of the shorter side, to s, u
// and vt. Sorts it, and applies the sign rule.
template <class T, class W>
void svd_store(const SvdBatch& batch, const W* values, const SvdVectors<W>& long_side, const SvdVectors<W>& short_side);

template <class T>
std::vector<SvdSums> svd_sums(const SvdBatch& batch);

// Reverses the order of the columns of V (columns, columns).
void svd_reverse_columns(const SvdBatch& batch, double* v);
// values (columns) = the diagonal of C (rows, columns), or times it if `multiplies`.
void svd_diagonal(const SvdBatch& batch, const double* c, int64_t rows, double* values, bool multiplies = false);
// |G - I| in the Frobenius norm, of each problem's G (columns, columns).
std::vector<double> svd_deviations(const SvdBatch& batch, const double* g);

}  // namespace sigma::cuda
