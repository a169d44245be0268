#include "cpu/svd/tall.h"

#include <algorithm>
#include <cmath>

#include "cpu/gemm/blas.h"
#include "cpu/runtime/pool.h"
#include "cpu/svd/bidiagonal.h"
#include "cpu/svd/lapack.h"
#include "cpu/svd/panel_qr.h"
#include "cpu/svd/reflectors.h"

namespace sigma::cpu {
namespace {

// Rows per task of a product.
constexpr int kTile = 512;

// Cholesky loses the square of this ratio in orthogonality, which a second pass restores.
template <class T>
bool is_regular(const Columns<T>& r) {
  T least = std::abs(*r.at(0, 0)), most = least;
  for (int j = 1; j < r.columns; ++j) {
    least = std::min(least, std::abs(*r.at(j, j)));
    most = std::max(most, std::abs(*r.at(j, j)));
  }
  return least * 100 > most;
}

// Whether the columns of W = Q R were nearly orthogonal, whatever their lengths: then one pass loses little.
template <class T>
bool is_nearly_diagonal(const Columns<T>& r) {
  for (int j = 0; j < r.columns; ++j) {
    T squares = 0;
    for (int i = 0; i < j; ++i) squares += *r.at(i, j) * *r.at(i, j);
    if (!(squares * 100 <= *r.at(j, j) * *r.at(j, j))) return false;
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
  const auto memory = numbers<T>(static_cast<size_t>(k) * static_cast<size_t>(k));
  const Columns<T> inverse{memory.get(), k, k, k};
  if (invert_cholesky(r, inverse)) return multiply(T{1}, copy.view(), inverse, T{0}, w);
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
bool invert_cholesky(const Columns<T>& r, const Columns<T>& inverse) {
  const int k = r.columns;
  if (!cholesky(/* uplo = */ "U", r) || !is_regular(r)) return false;
  for (int j = 0; j < k; ++j) {
    std::fill_n(r.at(j, j) + 1, k - j - 1, T{0});
    std::copy_n(r.column(j), k, inverse.column(j));
  }
  return Lapack<T>::trtri(/* uplo = */ "U", /* diag = */ "N", k, inverse.data, /* lda = */ inverse.stride) == 0;
}

template <class T>
void orthonormalise(const Columns<T>& w, const Columns<T>& r) {
  const int k = w.columns;
  orthonormalise_once(w, r);
  if (is_nearly_diagonal(r)) return;
  const auto memory = numbers<T>(2 * static_cast<size_t>(k) * static_cast<size_t>(k));
  const Columns<T> first{memory.get(), k, k, k}, second{first.column(k), k, k, k};
  for (int j = 0; j < k; ++j) std::copy_n(r.column(j), k, first.column(j));
  orthonormalise_once(w, second);
  multiply(T{1}, second, first, T{0}, r);
}

#define SIGMA_INSTANTIATE(T)                                                                     \
  template void multiply<T>(T, const Columns<T>&, const Columns<T>&, T, const Columns<T>&);      \
  template void multiply_transposed<T>(const Columns<T>&, const Columns<T>&, const Columns<T>&); \
  template bool invert_cholesky<T>(const Columns<T>&, const Columns<T>&);                        \
  template void orthonormalise<T>(const Columns<T>&, const Columns<T>&);
SIGMA_INSTANTIATE(float)
SIGMA_INSTANTIATE(double)
#undef SIGMA_INSTANTIATE

}  // namespace sigma::cpu
