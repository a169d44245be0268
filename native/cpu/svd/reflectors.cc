// Applies blocks of reflectors by GEMMs.
#include "cpu/svd/reflectors.h"

#include <algorithm>

#include "cpu/gemm/blas.h"
#include "cpu/runtime/pool.h"
#include "cpu/svd/lapack.h"

namespace sigma::cpu {
namespace {

// Writes reflectors as the columns of a unit lower trapezoid. A reflector with τ = 0 is the identity: a zero column.
template <class T, class Tail>
void unit_trapezoid(const Columns<T>& to, const T* tau, const Tail& tail) {
  for (int j = 0; j < to.columns; ++j) {
    T* const v = to.column(j);
    std::fill_n(v, to.rows, T{0});
    if (tau[j] == 0) continue;
    v[j] = 1;
    for (int t = j + 1; t < to.rows; ++t) v[t] = *tail(t, j);
  }
}

// BLAS accumulates hundreds of products sequentially. In a matrix of similar numbers, all their rounding errors have
// one sign, so longer sums are split.
constexpr int kPart = 512;

// Replaces VᵀV by T, where H₀ H₁ … = 1 - V T Vᵀ: the inverse of the upper triangle with 1/τ on its diagonal (Puglisi
// 1992, Joffrain et al. 2006). V has a zero column for τ = 0.
template <class T>
void invert_triangle(const T* tau, const Columns<T>& t) {
  for (int j = 0; j < t.columns; ++j) {
    *t.at(j, j) = tau[j] == 0 ? T{1} : 1 / tau[j];
    std::fill(t.at(j, j) + 1, t.column(j) + t.rows, T{0});
  }
  Lapack<T>::trtri(/* uplo = */ "U", /* diag = */ "N", t.rows, t.data, /* lda = */ t.stride);
}

// to = V T.
template <class T>
void times_triangle(const Columns<T>& v, const T* tau, T* triangle, const Columns<T>& to) {
  const int k = v.columns;
  const Columns<T> t{triangle, k, k, k};
  add_inner_products(v, v, T{0}, t);
  invert_triangle(tau, t);
  gemm_by_columns(CblasNoTrans, CblasNoTrans, v.rows, k, k, /* alpha = */ T{1}, v.data, /* lda = */ v.stride, triangle,
                  /* ldb = */ k, /* beta = */ T{0}, to.data, /* ldc = */ to.stride);
}

// Reflectors per block. Wide blocks pass over the memory of a large matrix less often, narrow ones cost fewer flops.
constexpr int kBlock = 64, kNarrowBlock = 32;
constexpr int kWideFrom = 768;  // length of the reflectors

int block_size(int length) { return length >= kWideFrom ? kBlock : kNarrowBlock; }

// Calls body(first, V, V T) for each block of the `count` reflectors, last block first. Element t > i of reflector i is
// *tail(t, i).
template <class T, class Tail, class Body>
void for_blocks(int count, int length, const T* tau, const Tail& tail, const Body& body) {
  const int size = block_size(length);
  const auto room = static_cast<size_t>(length) * static_cast<size_t>(size);
  const auto v_memory = numbers<T>(room), vt_memory = numbers<T>(room), triangle = numbers<T>(kBlock * kBlock);
  for (int64_t block = blocks(count, size); block-- > 0;) {
    const int first = static_cast<int>(block) * size;
    const int k = std::min(size, count - first);
    const int rows = length - first;
    const Columns<T> v{v_memory.get(), rows, k, rows}, vt{vt_memory.get(), rows, k, rows};
    unit_trapezoid(v, tau + first, [&](int t, int j) { return tail(first + t, first + j); });
    times_triangle(v, tau + first, triangle.get(), vt);
    body(first, v, vt);
  }
}

}  // namespace

template <class T>
void add_inner_products(const Columns<T>& a, const Columns<T>& b, T beta, const Columns<T>& c) {
  for (int begin = 0; begin < a.rows; begin += kPart) {
    gemm_by_columns(CblasTrans, CblasNoTrans, a.columns, b.columns, std::min(kPart, a.rows - begin),
                    /* alpha = */ T{1}, a.at(begin, 0), /* lda = */ a.stride, b.at(begin, 0), /* ldb = */ b.stride,
                    /* beta = */ begin == 0 ? beta : T{1}, c.data, /* ldc = */ c.stride);
  }
}

template <class T>
void block_triangle(const Columns<T>& corner, const Columns<T>& rest, const T* tau, const Columns<T>& to) {
  add_inner_products(corner, corner, T{0}, to);
  add_inner_products(rest, rest, T{1}, to);
  invert_triangle(tau, to);
}

template <class T>
void apply_columns(const Columns<T>& a, const T* tau, const Columns<T>& c) {
  const auto w = numbers<T>(static_cast<size_t>(kBlock) * static_cast<size_t>(c.columns));
  const auto tail = [&](int t, int i) { return a.at(t, i); };
  for_blocks<T>(a.columns, a.rows, tau, tail, [&](int first, const Columns<T>& v, const Columns<T>& vt) {
    T* const part = c.at(first, 0);
    const Columns<T> sums{w.get(), v.columns, c.columns, v.columns};
    add_inner_products(v, {part, v.rows, c.columns, c.stride}, T{0}, sums);
    gemm_by_columns(CblasNoTrans, CblasNoTrans, v.rows, c.columns, v.columns, /* alpha = */ T{-1}, vt.data,
                    /* lda = */ vt.stride, w.get(), /* ldb = */ v.columns, /* beta = */ T{1}, part,
                    /* ldc = */ c.stride);
  });
}

template <class T>
void apply_rows(const Columns<T>& a, int offset, const T* tau, const Columns<T>& c) {
  const auto w = numbers<T>(static_cast<size_t>(kBlock) * static_cast<size_t>(c.rows));
  const auto tail = [&](int t, int i) { return a.at(i, t + offset); };
  const int length = a.columns - offset;
  for_blocks<T>(std::min(a.rows, length), length, tau, tail, [&](int first, const Columns<T>& u, const Columns<T>& ut) {
    T* const part = c.at(0, first + offset);
    for (int begin = 0; begin < u.rows; begin += kPart) {
      gemm_by_columns(CblasNoTrans, CblasNoTrans, c.rows, u.columns, std::min(kPart, u.rows - begin),
                      /* alpha = */ T{1}, part + int64_t{begin} * c.stride, /* lda = */ c.stride, u.at(begin, 0),
                      /* ldb = */ u.stride, /* beta = */ begin == 0 ? T{0} : T{1}, w.get(), /* ldc = */ c.rows);
    }
    gemm_by_columns(CblasNoTrans, CblasTrans, c.rows, u.rows, u.columns, /* alpha = */ T{-1}, w.get(),
                    /* lda = */ c.rows, ut.data, /* ldb = */ ut.stride, /* beta = */ T{1}, part,
                    /* ldc = */ c.stride);
  });
}

#define SIGMA_INSTANTIATE(T)                                                                          \
  template void add_inner_products<T>(const Columns<T>&, const Columns<T>&, T, const Columns<T>&);    \
  template void block_triangle<T>(const Columns<T>&, const Columns<T>&, const T*, const Columns<T>&); \
  template void apply_columns<T>(const Columns<T>&, const T*, const Columns<T>&);                     \
  template void apply_rows<T>(const Columns<T>&, int, const T*, const Columns<T>&);
SIGMA_INSTANTIATE(float)
SIGMA_INSTANTIATE(double)
#undef SIGMA_INSTANTIATE

}  // namespace sigma::cpu
