#include "cpu/svd/basis.h"

#include <algorithm>
#include <cmath>

#include "cpu/gemm/blas.h"
#include "cpu/runtime/pool.h"
#include "cpu/svd/lapack.h"
#include "cpu/svd/panel_qr.h"
#include "cpu/svd/reflectors.h"

namespace sigma::cpu {
namespace {

// Rows per task of a product.
constexpr int kTile = 512;
// Columns of the basis per task of a projection.
constexpr int kBasisTile = 128;

// Cholesky loses the square of this ratio in orthogonality, which a second pass restores.
template <class T>
bool is_regular(const Columns<T>& r) {
  T least = std::abs(*r.at(0, 0)), most = least;
  for (int j = 1; j < r.columns; ++j) {
    least = std::min(least, std::abs(*r.at(j, j)));
    most = std::max(most, std::abs(*r.at(j, j)));
  }
  return std::isfinite(most) && least * 100 > most;
}

template <class T>
bool is_small(const Columns<T>& c) {
  for (int j = 0; j < c.columns; ++j) {
    for (int i = 0; i < c.rows; ++i) {
      if (!(std::abs(*c.at(i, j)) < static_cast<T>(0.01))) return false;
    }
  }
  return true;
}

// One pass: by Cholesky of wᵀw if w is well-conditioned, else by reflectors.
template <class T>
void orthonormalise_once(const Columns<T>& w, const Columns<T>& r) {
  const int k = w.columns;
  add_inner_products(w, w, T{0}, r);
  PaddedColumns<T> copy(w.rows, k);
  for (int j = 0; j < k; ++j) std::copy_n(w.column(j), w.rows, copy.view().column(j));
  if (Lapack<T>::potrf("U", k, r.data, /* lda = */ r.stride) == 0 && is_regular(r)) {
    const auto inverse = numbers<T>(static_cast<size_t>(k) * static_cast<size_t>(k));
    const Columns<T> to{inverse.get(), k, k, k};
    for (int j = 0; j < k; ++j) {
      std::fill_n(r.at(j, j) + 1, k - j - 1, T{0});
      std::copy_n(r.column(j), k, to.column(j));
    }
    Lapack<T>::trtri(/* uplo = */ "U", /* diag = */ "N", k, to.data, /* lda = */ k);
    multiply(T{1}, copy.view(), to, T{0}, w);
    return;
  }
  const PanelQr<T> qr(copy.view());
  qr.copy_triangle(r);
  for (int j = 0; j < k; ++j) {
    std::fill_n(w.column(j), k, T{0});
    *w.at(j, j) = 1;
  }
  qr.apply(w);
}

}  // namespace

template <class T>
void multiply(T alpha, const Columns<T>& a, const Columns<T>& x, T beta, const Columns<T>& y) {
  parallel_for(blocks(y.rows, kTile), [&](int64_t task) {
    const int begin = static_cast<int>(task) * kTile;
    gemm_by_columns(CblasNoTrans, CblasNoTrans, std::min(kTile, y.rows - begin), y.columns, x.rows, alpha,
                    a.at(begin, 0), /* lda = */ a.stride, x.data, /* ldb = */ x.stride, beta, y.at(begin, 0),
                    /* ldc = */ y.stride);
  });
}

// OpenBLAS packs a wide second operand faster than a tall first one.
template <class T>
void multiply_transposed(const Columns<T>& a, const Columns<T>& x, const Columns<T>& y) {
  parallel_for(blocks(y.rows, kTile), [&](int64_t task) {
    const int begin = static_cast<int>(task) * kTile;
    const int count = std::min(kTile, y.rows - begin);
    const auto turned = numbers<T>(static_cast<size_t>(y.columns) * static_cast<size_t>(count));
    gemm_by_columns(CblasTrans, CblasNoTrans, y.columns, count, x.rows, /* alpha = */ T{1}, x.data,
                    /* lda = */ x.stride, a.column(begin), /* ldb = */ a.stride, /* beta = */ T{0}, turned.get(),
                    /* ldc = */ y.columns);
    for (int j = 0; j < y.columns; ++j) {
      for (int i = 0; i < count; ++i) *y.at(begin + i, j) = turned[static_cast<size_t>(i) * y.columns + j];
    }
  });
}

template <class T>
void orthonormalise(const Columns<T>& w, const Columns<T>& r) {
  const int k = w.columns;
  const auto memory = numbers<T>(2 * static_cast<size_t>(k) * static_cast<size_t>(k));
  const Columns<T> first{memory.get(), k, k, k}, second{first.column(k), k, k, k};
  orthonormalise_once(w, first);
  orthonormalise_once(w, second);
  multiply(T{1}, second, first, T{0}, r);
}

template <class T>
void Basis<T>::project(int first, const Columns<T>& w, const Columns<T>& c) const {
  if (first == size_) return;
  const Columns<T> q = block(first, size_ - first);
  parallel_for(blocks(q.columns, kBasisTile), [&](int64_t task) {
    const int begin = static_cast<int>(task) * kBasisTile;
    const int count = std::min(kBasisTile, q.columns - begin);
    add_inner_products({q.column(begin), q.rows, count, q.stride}, w, T{0},
                       {c.at(begin, 0), count, w.columns, c.stride});
  });
  multiply(T{-1}, q, c, T{1}, w);
}

template <class T>
void Basis<T>::add(int width, int near, const Columns<T>& coefficients) {
  const Columns<T> w = next(width);
  const auto size = static_cast<size_t>(width) * static_cast<size_t>(width);
  const auto memory = numbers<T>(2 * size + static_cast<size_t>(size_) * static_cast<size_t>(width));
  const Columns<T> r1{memory.get(), width, width, width}, r2{r1.column(width), width, width, width};
  const Columns<T> c1{coefficients.data, size_, width, coefficients.stride};
  const Columns<T> c2{r2.column(width), size_, width, std::max(1, size_)};
  const Columns<T> r{coefficients.at(size_, 0), width, width, coefficients.stride};
  const int first = std::max(0, size_ - near);
  for (int j = 0; j < width; ++j) std::fill_n(c1.column(j), first, T{0});
  project(first, w, {c1.at(first, 0), size_ - first, width, c1.stride});
  orthonormalise_once(w, r1);
  // Twice is enough (Giraud, Langou and Rozložník 2005), unless hardly anything is left of W.
  for (int pass = 0; pass < 3; ++pass) {
    project(0, w, c2);
    orthonormalise_once(w, r2);
    if (size_ > 0) multiply(T{1}, c2, r1, T{1}, c1);
    multiply(T{1}, r2, r1, T{0}, r);
    if (is_small(c2)) break;
    for (int j = 0; j < width; ++j) std::copy_n(r.column(j), width, r1.column(j));
  }
  size_ += width;
}

#define SIGMA_INSTANTIATE(T)                                                                     \
  template void multiply<T>(T, const Columns<T>&, const Columns<T>&, T, const Columns<T>&);      \
  template void multiply_transposed<T>(const Columns<T>&, const Columns<T>&, const Columns<T>&); \
  template void orthonormalise<T>(const Columns<T>&, const Columns<T>&);                         \
  template class Basis<T>;
SIGMA_INSTANTIATE(float)
SIGMA_INSTANTIATE(double)
#undef SIGMA_INSTANTIATE

}  // namespace sigma::cpu
