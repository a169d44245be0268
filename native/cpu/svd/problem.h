// A thin SVD problem: A (m, n) = U diag(s) Vt, r = min(m, n), all row-major. Only the k largest triples are wanted; the
// routes of routes.h take k = r.
//
// LAPACK is column-major, so it sees Aᵀ = V diag(s) Uᵀ: LAPACK's "U" (n, r) is our Vt (r, n), and its "VT" is our U.
// Therefore nothing is ever transposed.
#pragma once

#include <algorithm>
#include <cmath>

#include "contract/backend.h"
#include "cpu/gemm/blas.h"
#include "cpu/runtime/columns.h"
#include "cpu/runtime/pool.h"
#include "cpu/runtime/simd.h"
#include "recipes/svd.h"

namespace sigma::cpu {

// The largest magnitude; NaN if any number is not finite.
template <class T>
T largest_magnitude(const T* a, size_t count) {
  constexpr int64_t kPart = 1 << 16;
  const auto length = static_cast<int64_t>(count);
  if (length <= kPart) return kernels<T>().largest_magnitude(length, a);
  const auto largest = numbers<T>(static_cast<size_t>(blocks(length, kPart)));
  parallel_for(blocks(length, kPart), [&](int64_t task) {
    const int64_t begin = task * kPart;
    largest[static_cast<size_t>(task)] = kernels<T>().largest_magnitude(std::min(kPart, length - begin), a + begin);
  });
  return kernels<T>().largest_magnitude(blocks(length, kPart), largest.get());
}

template <class T>
struct SvdProblem {
  explicit SvdProblem(const sigma_svd_problem& given)
      : SvdProblem(blas_int(given.rows), blas_int(given.columns), static_cast<const T*>(given.a),
                   static_cast<T*>(given.u), static_cast<T*>(given.s), static_cast<T*>(given.vt)) {
    k = blas_int(given.rank);
  }
  SvdProblem(int rows, int columns, const T* a_, T* u_, T* s_, T* vt_)
      : m(rows), n(columns), r(std::min(m, n)), k(r), a(a_), u(u_), s(s_), vt(vt_),
        largest(largest_magnitude(a, size())) {}
  size_t size() const { return static_cast<size_t>(m) * static_cast<size_t>(n); }

  int m, n, r, k;
  const T* a;  // (m, n)
  T* u;        // (m, k)
  T* s;        // (k)
  T* vt;       // (k, n)
  T largest;   // largest magnitude in a; NaN if any number is not finite
};

// Rescales the singular values of `scale` A to those of A. May overflow to infinity.
template <class T>
void svd_unscale(const SvdProblem<T>& p, T scale) {
  if (scale != 1) std::transform(p.s, p.s + p.k, p.s, [&](T x) { return x / scale; });
}

// A copy of scale · A, which LAPACK may overwrite.
template <class T>
class ScaledCopy {
 public:
  explicit ScaledCopy(const SvdProblem<T>& p) : ScaledCopy(p, svd_scale(p.largest)) {}
  ScaledCopy(const SvdProblem<T>& p, T scale) : numbers_(numbers<T>(p.size())), scale_(scale) {
    if (scale_ == 1) {
      std::copy_n(p.a, p.size(), data());
    } else {
      std::transform(p.a, p.a + p.size(), data(), [&](T x) { return x * scale_; });
    }
  }
  T* data() const { return numbers_.get(); }
  void restore(const SvdProblem<T>& p) const { svd_unscale(p, scale_); }

 private:
  Numbers<T> numbers_;
  T scale_;
};

}  // namespace sigma::cpu
