#include "cpu/svd/semidefinite.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/runtime/pool.h"
#include "cpu/svd/divide.h"
#include "cpu/svd/lapack.h"
#include "cpu/svd/reflectors.h"

namespace sigma::cpu {
namespace {

// Vectors per task.
constexpr int kTile = 64;

// The upper bidiagonal B with B Bᵀ = T + shift, for T with diagonal d (n) and off-diagonal e (n - 1). Returns false if
// that is not positive definite.
template <class T>
bool factorise(int n, const T* d, const T* e, T shift, T* diagonal, T* above) {
  T square = d[n - 1] + shift;
  for (int i = n - 1; i > 0; --i) {
    if (!(square > 0)) return false;
    diagonal[i] = std::sqrt(square);
    above[i - 1] = e[i - 1] / diagonal[i];
    square = d[i - 1] + shift - above[i - 1] * above[i - 1];
  }
  if (!(square > 0)) return false;
  diagonal[0] = std::sqrt(square);
  return true;
}

}  // namespace

template <class T>
bool semidefinite_eigenvectors(const Columns<T>& h, T* values, const Columns<T>& vectors) {
  const int n = h.rows;
  const auto count = static_cast<size_t>(n);
  constexpr int kBlock = 64;
  const auto small = numbers<T>(5 * count), work = numbers<T>(kBlock * count), memory = numbers<T>(2 * count * count);
  T *const d = small.get(), *const e = d + n, *const tau = e + n, *const diagonal = tau + n,
           *const above = diagonal + n;
  const int info = Lapack<T>::sytrd(/* uplo = */ "L", n, h.data, /* lda = */ h.stride, d, e, tau, work.get(),
                                    /* lwork = */ kBlock * n);
  const T largest = *std::max_element(d, d + n);
  if (info != 0 || !std::isfinite(largest)) return false;
  // The eigenvalues of T are the squares of the singular values of a factor, and its eigenvectors are their left
  // vectors. Rounding may have made the smallest ones negative.
  T shift = 0;
  for (T part = 4 * std::numeric_limits<T>::epsilon(); !factorise(n, d, e, shift, diagonal, above); part *= 16) {
    if (part > 1) return false;
    shift = part * largest;
  }
  const Columns<T> u{memory.get(), n, n, n}, vt{u.data + count * count, n, n, n};
  if (!divide_and_conquer(diagonal, above, u, vt)) return false;
  for (int j = 0; j < n; ++j) values[j] = diagonal[j] * diagonal[j] - shift;
  parallel_for(blocks(vectors.columns, kTile), [&](int64_t task) {
    const int begin = static_cast<int>(task) * kTile, end = std::min(begin + kTile, vectors.columns);
    for (int j = begin; j < end; ++j) std::copy_n(u.column(j), n, vectors.column(j));
    if (n == 1) return;
    // Reflector j leaves the first j + 1 numbers as they are.
    apply_columns(Columns<T>{h.at(1, 0), n - 1, n - 1, h.stride}, tau,
                  {vectors.at(1, begin), n - 1, end - begin, vectors.stride});
  });
  return true;
}

template bool semidefinite_eigenvectors<float>(const Columns<float>&, float*, const Columns<float>&);
template bool semidefinite_eigenvectors<double>(const Columns<double>&, double*, const Columns<double>&);

}  // namespace sigma::cpu
