// Blocked Householder bidiagonalisation like LAPACK's gebrd, with half the memory traffic: one pass over the matrix
// computes the product with a left reflector and the product with the next right reflector (Howell, Demmel, Fulton,
// Hammarling and Marmol 2008, "Cache efficient bidiagonalization using BLAS 2.5 operators").
#include "cpu/svd/bidiagonal.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/gemm/blas.h"
#include "cpu/runtime/pool.h"
#include "cpu/runtime/simd.h"
#include "cpu/svd/lapack.h"

namespace sigma::cpu {
namespace {

// Panel width: the trailing matrix is updated once per panel.
constexpr int kPanel = 16;
// Columns per call of the sweep kernel.
constexpr int kSweep = 4;
// A sweep has one part per kShare elements of the matrix, at most kParts. Threads share the parts.
constexpr int64_t kShare = int64_t{1} << 19;
constexpr int64_t kParts = 4;

template <class T>
int aligned_down(int i) {
  return i / kLine<T> * kLine<T>;
}

// Within a panel the current matrix is A - P Qᵀ, with A as stored. P has columns v₀ x₀ v₁ x₁ …, Q has y₀ u₀ y₁ u₁ …:
// v and u are the left and right reflectors, y = τ (current A)ᵀ v and x = τ (current A) u.
template <class T>
class Reduction {
 public:
  Reduction(const Columns<T>& a, const Bidiagonal<T>& b)
      : a_(a), b_(b), p_memory_(numbers<T>(static_cast<size_t>(a.rows) * 2 * kPanel)),
        q_memory_(numbers<T>(static_cast<size_t>(a.columns) * 2 * kPanel)), p_{p_memory_.get(), a.rows, 0, a.rows},
        q_{q_memory_.get(), a.columns, 0, a.columns}, row_(numbers<T>(static_cast<size_t>(a.columns))),
        w_(numbers<T>(static_cast<size_t>(a.rows) * kParts)), inner_(numbers<T>(2 * kPanel)) {}

  void run() {
    for (int begin = 0; begin < a_.columns; begin += kPanel) {
      const int end = std::min(begin + kPanel, a_.columns);
      p_.columns = q_.columns = 0;
      for (int i = begin; i < end; ++i) {
        reduce_column(i);
        if (i + 1 < a_.columns) reduce_row(i);
      }
      subtract_panel(end);
    }
  }

 private:
  // Computes the left reflector that reduces column i to d[i].
  void reduce_column(int i) {
    const int below = a_.rows - i;
    T* const column = a_.at(i, i);
    if (p_.columns > 0) {
      gemv_by_columns(CblasNoTrans, below, p_.columns, /* alpha = */ T{-1}, p_.at(i, 0), /* lda = */ p_.stride,
                      q_.at(i, 0), /* incx = */ q_.stride, /* beta = */ T{1}, column);
    }
    Lapack<T>::larfg(below, column, column + 1, b_.tauq + i);
    b_.d[i] = *column;
    // Zeros back to the start of the cache line, so that products run over whole lines.
    T* const v = p_.at(0, p_.columns);
    std::fill(v + aligned_down<T>(i), v + i, T{0});
    v[i] = 1;
    std::copy_n(column + 1, below - 1, v + i + 1);
  }

  // Computes the right reflector that reduces row i to e[i], and also y and x.
  void reduce_row(int i) {
    const int next = i + 1;
    const int right = a_.columns - next;
    const int known = p_.columns;
    T* const y = q_.at(next, known);
    T* const row = row_.get();
    for (int j = 0; j < right; ++j) row[j] = *a_.at(i, next + j);
    if (known > 0) {
      // Q Pᵀ v, which the sweep subtracts from y, and the current row i.
      gemv_by_columns(CblasTrans, a_.rows - i, known, /* alpha = */ T{1}, p_.at(i, 0), /* lda = */ p_.stride,
                      p_.at(i, known), /* incx = */ 1, /* beta = */ T{0}, inner_.get());
      gemv_by_columns(CblasNoTrans, right, known, /* alpha = */ T{1}, q_.at(next, 0), /* lda = */ q_.stride,
                      inner_.get(), /* incx = */ 1, /* beta = */ T{0}, y);
      gemv_by_columns(CblasNoTrans, right, known, /* alpha = */ T{-1}, q_.at(next, 0), /* lda = */ q_.stride,
                      p_.at(i, 0), /* incx = */ p_.stride, /* beta = */ T{1}, row);
    } else {
      std::fill_n(y, right, T{0});
    }
    sweep(i, y);
    const T alpha = row[0];
    Lapack<T>::larfg(right, row, row + 1, b_.taup + i);
    const T beta = row[0];
    b_.e[i] = beta;
    row[0] = 1;
    std::copy_n(row, right, q_.at(next, known + 1));
    *a_.at(i, next) = beta;
    for (int j = 1; j < right; ++j) *a_.at(i, next + j) = row[j];
    p_.columns = q_.columns = known + 2;
    finish_x(next, alpha, beta, b_.taup[i]);
  }

  // For each column j right of i: y[j] = τ (A[:, j] · v - y[j]), row[j] -= y[j], and w += row[j] A[:, j].
  void sweep(int i, T* y) {
    const int right = a_.columns - i - 1;
    const int64_t area = static_cast<int64_t>(a_.rows - i) * right;
    const int64_t parts = std::clamp<int64_t>(area / kShare, 1, kParts);
    const int step = static_cast<int>(blocks(blocks(right, parts), kSweep)) * kSweep;
    parallel_for(parts, [&](int64_t part) {
      const int begin = std::min(static_cast<int>(part) * step, right);
      sweep_part(i, y, begin, std::min(begin + step, right), w_.get() + part * a_.rows);
    });
    const int top = aligned_down<T>(i);
    for (int64_t part = 1; part < parts; ++part) {
      row_kernels<T>().add(a_.rows - top, w_.get() + part * a_.rows + top, w_.get() + top);
    }
  }

  void sweep_part(int i, T* y, int begin, int end, T* w) {
    const int top = aligned_down<T>(i);
    const int64_t count = a_.rows - top;
    const int64_t stride = a_.stride;
    const T* const v = p_.at(top, p_.columns);
    const T tau = b_.tauq[i];
    T* const row = row_.get();
    std::fill_n(w + top, count, T{0});
    const auto finish = [&](int j, const T* sums, int columns) {
      for (int k = 0; k < columns; ++k) {
        y[j + k] = tau * (sums[k] - y[j + k]);
        row[j + k] -= y[j + k];
      }
    };
    // w lags one group of columns behind y: its products need the row, which is known only after a group's y.
    constexpr T kNothing[kSweep] = {};
    const T* behind = a_.at(top, i + 1 + begin);
    const T* factors = kNothing;
    int j = begin;
    for (; j + kSweep <= end; j += kSweep) {
      const T* const columns = a_.at(top, i + 1 + j);
      T sums[kSweep];
      kernels<T>().sweep(count, stride, behind, factors, w + top, columns, v, sums);
      finish(j, sums, kSweep);
      behind = columns;
      factors = row + j;
    }
    const auto add = [&](const T* columns, int entries, const T* values) {
      const SparseRow<T> sum{T{1}, w + top, entries, kIndices, values, w + top};
      row_kernels<T>().gather(count, &sum, T{1}, columns, stride);
    };
    if (j > begin) add(behind, kSweep, factors);
    if (j < end) {
      T sums[kSweep] = {};
      row_kernels<T>().dots(count, v, end - j, kIndices, a_.at(top, i + 1 + j), stride, sums);
      finish(j, sums, end - j);
      add(a_.at(top, i + 1 + j), end - j, row + j);
    }
  }

  // x = τ (A - P Qᵀ) u, from w = A row and u = (row - β e₀) / (α - β). α - β does not cancel: α and β differ in sign.
  void finish_x(int next, T alpha, T beta, T tau) {
    const int below = a_.rows - next;
    const int right = a_.columns - next;
    const int known = p_.columns - 1;
    T* const x = p_.at(next, known);
    if (tau == 0) {
      std::fill_n(x, below, T{0});
      return;
    }
    const T* const u = q_.at(next, known);
    const T* const first = a_.at(next, next);
    if (std::abs(beta) > std::sqrt(std::numeric_limits<T>::min())) {
      const T scale = 1 / (alpha - beta);
      const T* const w = w_.get() + next;
      for (int t = 0; t < below; ++t) x[t] = (w[t] - beta * first[t]) * scale;
    } else {  // w of such a small row has underflowed
      gemv_by_columns(CblasNoTrans, below, right, /* alpha = */ T{1}, first, /* lda = */ a_.stride, u, /* incx = */ 1,
                      /* beta = */ T{0}, x);
    }
    gemv_by_columns(CblasTrans, right, known, /* alpha = */ T{1}, q_.at(next, 0), /* lda = */ q_.stride, u,
                    /* incx = */ 1, /* beta = */ T{0}, inner_.get());
    gemv_by_columns(CblasNoTrans, below, known, /* alpha = */ -tau, p_.at(next, 0), /* lda = */ p_.stride, inner_.get(),
                    /* incx = */ 1, /* beta = */ tau, x);
  }

  // A -= P Qᵀ in the trailing matrix, from row and column `begin` on.
  void subtract_panel(int begin) {
    constexpr int kTile = 256;
    const int rest = a_.columns - begin;
    parallel_for(blocks(rest, kTile), [&](int64_t tile) {
      const int first = begin + static_cast<int>(tile) * kTile;
      gemm_by_columns(CblasNoTrans, CblasTrans, a_.rows - begin, std::min(kTile, a_.columns - first), p_.columns,
                      /* alpha = */ T{-1}, p_.at(begin, 0), /* lda = */ p_.stride, q_.at(first, 0),
                      /* ldb = */ q_.stride, /* beta = */ T{1}, a_.at(begin, first), /* ldc = */ a_.stride);
    });
  }

  static constexpr int32_t kIndices[kSweep] = {0, 1, 2, 3};

  Columns<T> a_;
  Bidiagonal<T> b_;
  Numbers<T> p_memory_, q_memory_;
  Columns<T> p_, q_;  // `columns` grows within a panel
  Numbers<T> row_;    // (n) current row i
  Numbers<T> w_;      // (parts, m) A row, by parts
  Numbers<T> inner_;  // (2 kPanel)
};

// A leading dimension that is a multiple of 2 KB would map columns to few cache sets.
template <class T>
int padded_stride(int rows) {
  const int64_t lines = blocks(rows, kLine<T>);
  return blas_int((lines % 32 == 0 ? lines + 1 : lines) * kLine<T>);
}

}  // namespace

template <class T>
PaddedColumns<T>::PaddedColumns(int rows, int columns)
    : memory_(numbers<T>(static_cast<size_t>(padded_stride<T>(rows)) * static_cast<size_t>(columns))),
      view_{memory_.get(), rows, columns, padded_stride<T>(rows)} {
  for (int j = 0; j < columns; ++j) std::fill(view_.at(rows, j), view_.column(j) + view_.stride, T{0});
}

template <class T>
void bidiagonalise(const PaddedColumns<T>& a, const Bidiagonal<T>& b) {
  // Includes the zero rows, so that products have no remainder loop.
  Columns<T> padded = a.view();
  padded.rows = static_cast<int>(blocks(padded.rows, kLine<T>)) * kLine<T>;
  Reduction<T>(padded, b).run();
}

#define SIGMA_INSTANTIATE(T)       \
  template class PaddedColumns<T>; \
  template void bidiagonalise<T>(const PaddedColumns<T>&, const Bidiagonal<T>&);
SIGMA_INSTANTIATE(float)
SIGMA_INSTANTIATE(double)
#undef SIGMA_INSTANTIATE

}  // namespace sigma::cpu
