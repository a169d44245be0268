#include "cpu/svd/triangle.h"

#include <algorithm>

#include "cpu/gemm/blas.h"
#include "cpu/runtime/pool.h"
#include "cpu/svd/bidiagonal.h"
#include "cpu/svd/long_qr.h"
#include "cpu/svd/transpose.h"

namespace sigma::cpu {
namespace {

template <class From, class T>
void copy(const Columns<From>& a, const Columns<T>& to, T scale = 1) {
  parallel_for(a.columns, [&](int64_t task) {
    const int j = static_cast<int>(task);
    for (int i = 0; i < a.rows; ++i) to.column(j)[i] = a.column(j)[i] * scale;
  });
}

// A v / σ is a left vector u. Its rounding is relative to σ₁, so that of u grows as σ₁ / σ. Q's reflectors round less,
// but cost twice as much. With many values at σ₁ and at this ratio, u keeps half of the limits of
// contract/svd_limits.h.
constexpr int kSteep = 5;

// How many vectors of the longer side are products with A.
template <class T>
int products_of(const SvdProblem<T>& p, T scale) {
  // A's numbers are far from 1: the factors would leave the range of T.
  if (scale != 1) return 0;
  return static_cast<int>(std::count_if(p.s, p.s + p.r, [&](T s) { return kSteep * s > p.s[0]; }));
}

// Calls body(begin, count) for tiles of the longer side.
template <class Body>
void for_tiles(int length, const Body& body) {
  const int size = std::max(1, static_cast<int>(even_tiles(length, 512)));
  parallel_for(blocks(length, size), [&](int64_t task) {
    const int begin = static_cast<int>(task) * size;
    body(begin, std::min(size, length - begin));
  });
}

// (r, k) by rows: the first k columns of `vectors` (r, r), over their singular values.
template <class T>
Numbers<T> over_values(const T* vectors, const T* s, int r, int k) {
  auto to = numbers<T>(static_cast<size_t>(r) * static_cast<size_t>(k));
  for (int i = 0; i < r; ++i) {
    for (int j = 0; j < k; ++j) to[int64_t{i} * k + j] = vectors[int64_t{i} * r + j] / s[j];
  }
  return to;
}

}  // namespace

template <class T>
bool through_triangle(const SvdProblem<T>& p, SvdRoute<T> route) {
  const bool tall = p.m > p.n;
  const int length = std::max(p.m, p.n), r = p.r;
  const T scale = svd_scale(p.largest);
  const PaddedColumns<T> a(length, r);
  // By columns, A is (n, m).
  const Columns<const T> given{p.a, p.n, p.m, p.n};
  if (tall) {
    transpose(given, a.view(), scale);
  } else {
    copy(given, a.view(), scale);
  }
  const LongQr<T> qr(a.view());
  const auto square = static_cast<size_t>(r) * static_cast<size_t>(r);
  const auto triangle = numbers<T>(square), other = numbers<T>(square);
  // By rows, the triangle is Rᵀ = U' S V'ᵀ; so R's left vectors are V', by columns.
  qr.copy_triangle({triangle.get(), r, r, r});
  if (tall) {
    const auto left = numbers<T>(square);
    if (!route(SvdProblem<T>(r, r, triangle.get(), other.get(), p.s, left.get()))) return false;
    const int k = products_of(p, scale);
    const auto factors = over_values(other.get(), p.s, r, k);
    for_tiles(k > 0 ? length : 0, [&](int begin, int count) {
      blas_gemm(CblasNoTrans, CblasNoTrans, count, k, r, p.a + int64_t{begin} * r, /* lda = */ r, factors.get(),
                /* ldb = */ k, /* beta = */ T{0}, p.u + int64_t{begin} * r, /* ldc = */ r);
    });
    if (k < r) {
      const PaddedColumns<T> u(length, r - k);
      copy(Columns<T>{left.get() + int64_t{k} * r, r, r - k, r}, u.view());
      qr.apply(u.view());
      transpose(u.view(), Columns<T>{p.u + k, r - k, length, r});
    }
    transpose(Columns<T>{other.get(), r, r, r}, Columns<T>{p.vt, r, r, r});
  } else {
    if (!route(SvdProblem<T>(r, r, triangle.get(), p.u, p.s, other.get()))) return false;
    const int k = products_of(p, scale);
    const auto factors = over_values(p.u, p.s, r, k);
    for_tiles(k > 0 ? length : 0, [&](int begin, int count) {
      blas_gemm(CblasTrans, CblasNoTrans, k, count, r, factors.get(), /* lda = */ k, p.a + begin, /* ldb = */ length,
                /* beta = */ T{0}, p.vt + begin, /* ldc = */ length);
    });
    if (k < r) {
      const Columns<T> v{p.vt + int64_t{k} * length, length, r - k, length};
      copy(Columns<T>{other.get() + int64_t{k} * r, r, r - k, r}, v);
      qr.apply(v);
    }
  }
  svd_unscale(p, scale);
  return true;
}

template bool through_triangle<float>(const SvdProblem<float>&, SvdRoute<float>);
template bool through_triangle<double>(const SvdProblem<double>&, SvdRoute<double>);

}  // namespace sigma::cpu
