#include "svd_routes.h"

#include <cmath>
#include <limits>

#include "bidiagonal.h"
#include "lapack.h"
#include "pool.h"
#include "reflectors.h"

namespace sigma::cpu {
namespace {

// The query comes back as a T, which in float32 cannot hold every integer: go one number up.
template <class T>
int workspace_size(T query) {
  const double size = std::ceil(static_cast<double>(std::nextafter(query, std::numeric_limits<T>::max())));
  return blas_int(static_cast<int64_t>(size));
}

template <class T>
void fill_zero(const Columns<T>& c) {
  for (int j = 0; j < c.columns; ++j) std::fill_n(c.column(j), c.rows, T{0});
}

// The power of two that brings the largest magnitude to where no product over- or underflows; 1 where it is there.
template <class T>
T safe_scale(const T* a, size_t count) {
  T largest = 0;
  for (size_t i = 0; i < count; ++i) largest = std::max(largest, std::abs(a[i]));
  const T small = std::sqrt(std::numeric_limits<T>::min()) / std::numeric_limits<T>::epsilon();
  if (largest == 0 || (largest >= small && largest <= 1 / small)) return T{1};
  return std::ldexp(T{1}, std::clamp(-std::ilogb(largest), std::numeric_limits<T>::min_exponent - 1,
                                     std::numeric_limits<T>::max_exponent - 1));
}

// A tile of U's columns, or of VT's rows, that one task turns.
constexpr int kTile = 1024;

// a (M, N), M ≥ N → u (M, N), s (N), vt (N, N); a is overwritten.
template <class T>
bool bidiagonal_svd(const PaddedColumns<T>& padded, T* s, const Columns<T>& u, const Columns<T>& vt) {
  const Columns<T> a = padded.view();
  const int n = a.columns;
  const auto count = static_cast<size_t>(n);
  const auto e = numbers<T>(count), tauq = numbers<T>(count), taup = numbers<T>(count);
  bidiagonalise(padded, Bidiagonal<T>{s, e.get(), tauq.get(), taup.get()});
  // The small factor goes into the corner of the large one; a square one is all corner.
  if (u.rows > n) fill_zero(u);
  {
    const auto work = numbers<T>(3 * count * count + 4 * count);
    const auto iwork = numbers<int>(8 * count);
    const int info =
        Lapack<T>::bdsdc("U", n, s, e.get(), u.data, u.stride, vt.data, vt.stride, work.get(), iwork.get());
    if (info != 0) return false;
  }
  const int64_t tiles = blocks(n, kTile);
  parallel_for(2 * tiles, [&](int64_t task) {
    const int begin = static_cast<int>(task / 2) * kTile;
    const int length = std::min(kTile, n - begin);
    if (task % 2 == 0) {
      apply_columns(a, tauq.get(), {u.column(begin), u.rows, length, u.stride});
    } else {
      apply_rows(a, 1, taup.get(), {vt.at(begin, 0), length, n, vt.stride});
    }
  });
  return true;
}

// to = aᵀ, in blocks that the first-level cache holds.
template <class T>
void transpose(const Columns<T>& a, const Columns<T>& to) {
  constexpr int kSide = 32;
  for (int left = 0; left < a.columns; left += kSide) {
    for (int top = 0; top < a.rows; top += kSide) {
      for (int j = left; j < std::min(left + kSide, a.columns); ++j) {
        for (int i = top; i < std::min(top + kSide, a.rows); ++i) *to.at(j, i) = *a.at(i, j);
      }
    }
  }
}

// The triangle that QR (upper) or LQ (lower) left in a.
template <class T>
void copy_triangle(const Columns<T>& a, bool upper, const Columns<T>& to) {
  for (int j = 0; j < to.columns; ++j) {
    for (int i = 0; i < to.rows; ++i) to.column(j)[i] = (upper ? i <= j : i >= j) ? a.column(j)[i] : T{0};
  }
}

// Q times the columns of c, or the rows of c times Q, in tiles on the pool.
template <class T>
void apply_orthogonal(bool left, const Columns<T>& a, const T* tau, const Columns<T>& c) {
  const int vectors = left ? c.columns : c.rows;
  parallel_for(blocks(vectors, kTile), [&](int64_t task) {
    const int begin = static_cast<int>(task) * kTile;
    const int length = std::min(kTile, vectors - begin);
    if (left) {
      apply_columns(a, tau, {c.column(begin), c.rows, length, c.stride});
    } else {
      apply_rows(a, 0, tau, {c.at(begin, 0), length, c.columns, c.stride});
    }
  });
}

// Below this many numbers the calls cost more than the arithmetic: LAPACK's own routine makes the fewest.
constexpr size_t kTiny = 24 * 24;

// LAPACK's divide and conquer counts its workspace, 3 r² + 7 r numbers, with 32 bits, and does not notice where they
// overflow.
bool can_divide(int64_t r) { return 3 * r * r + 7 * r <= std::numeric_limits<int>::max(); }

// From this ratio of the sides on QR first is cheaper.
bool much_longer(int64_t longer, int64_t shorter) { return 6 * longer >= 11 * shorter; }

}  // namespace

template <class T>
bool svd_gesdd(const SvdProblem<T>& p) {
  if (!can_divide(p.r)) {
    throw Failure(SIGMA_UNSUPPORTED,
                  "the shorter side, " + std::to_string(p.r) + ", is beyond the 32-bit workspace of LAPACK's gesdd");
  }
  const auto a = copy_of(p);
  const auto iwork = numbers<int>(8 * static_cast<size_t>(p.r));
  T query = 0;
  Lapack<T>::gesdd(p.n, p.m, a.get(), p.s, p.vt, p.n, p.u, p.r, &query, -1, iwork.get());
  const int lwork = workspace_size(query);
  const auto work = numbers<T>(static_cast<size_t>(lwork));
  return Lapack<T>::gesdd(p.n, p.m, a.get(), p.s, p.vt, p.n, p.u, p.r, work.get(), lwork, iwork.get()) == 0;
}

template <class T>
bool svd_gesvd(const SvdProblem<T>& p) {
  const auto a = copy_of(p);
  T query = 0;
  Lapack<T>::gesvd(p.n, p.m, a.get(), p.s, p.vt, p.n, p.u, p.r, &query, -1);
  const int lwork = workspace_size(query);
  const auto work = numbers<T>(static_cast<size_t>(lwork));
  return Lapack<T>::gesvd(p.n, p.m, a.get(), p.s, p.vt, p.n, p.u, p.r, work.get(), lwork) == 0;
}

template <class T>
bool svd_divide_and_conquer(const SvdProblem<T>& p) {
  if (p.size() < kTiny) return svd_gesdd(p);
  if (!can_divide(p.r)) return false;
  const auto copy = copy_of(p);
  const T scale = safe_scale(copy.get(), p.size());
  if (scale != 1) std::transform(copy.get(), copy.get() + p.size(), copy.get(), [&](T x) { return x * scale; });
  // LAPACK sees the transpose: (n, m) by columns.
  const Columns<T> a{copy.get(), p.n, p.m, p.n};
  const Columns<T> u{p.vt, p.n, p.r, p.n};
  const Columns<T> vt{p.u, p.r, p.m, p.r};
  const bool tall = much_longer(a.rows, a.columns);
  const bool wide = much_longer(a.columns, a.rows);
  bool solved = false;
  if (tall || wide) {
    const auto tau = numbers<T>(static_cast<size_t>(p.r));
    {
      const int lwork = blas_int(int64_t{64} * p.r);
      const auto work = numbers<T>(static_cast<size_t>(lwork));
      if (tall) {
        Lapack<T>::geqrf(a.rows, a.columns, a.data, a.stride, tau.get(), work.get(), lwork);
      } else {
        Lapack<T>::gelqf(a.rows, a.columns, a.data, a.stride, tau.get(), work.get(), lwork);
      }
    }
    const PaddedColumns<T> triangle(p.r, p.r);
    copy_triangle(a, tall, triangle.view());
    // The triangle's own factors stand in the corner of the result's; what lies beyond is zero until Q is applied.
    fill_zero(u);
    fill_zero(vt);
    solved = bidiagonal_svd<T>(triangle, p.s, {u.data, p.r, p.r, u.stride}, {vt.data, p.r, p.r, vt.stride});
    if (solved) apply_orthogonal(tall, a, tau.get(), tall ? u : vt);
  } else if (a.columns > a.rows) {
    const PaddedColumns<T> turned(a.columns, a.rows);
    transpose(a, turned.view());
    const auto room = static_cast<size_t>(p.r);
    const auto left = numbers<T>(static_cast<size_t>(a.columns) * room), right = numbers<T>(room * room);
    const Columns<T> v{left.get(), a.columns, p.r, a.columns}, ut{right.get(), p.r, p.r, p.r};
    solved = bidiagonal_svd(turned, p.s, v, ut);
    transpose(ut, u);
    transpose(v, vt);
  } else {
    const PaddedColumns<T> padded(a.rows, a.columns);
    for (int j = 0; j < a.columns; ++j) std::copy_n(a.column(j), a.rows, padded.view().column(j));
    solved = bidiagonal_svd(padded, p.s, u, vt);
  }
  if (solved && scale != 1) std::transform(p.s, p.s + p.r, p.s, [&](T x) { return x / scale; });
  return solved;
}

bool svd_in_float64(const SvdProblem<float>& p) {
  const auto rows = static_cast<size_t>(p.m), columns = static_cast<size_t>(p.n), r = static_cast<size_t>(p.r);
  const auto a = numbers<double>(p.size()), u = numbers<double>(rows * r), s = numbers<double>(r);
  const auto vt = numbers<double>(r * columns);
  std::copy_n(p.a, p.size(), a.get());
  if (!svd_divide_and_conquer(SvdProblem<double>(p.m, p.n, a.get(), u.get(), s.get(), vt.get()))) return false;
  const auto narrow = [](double x) { return static_cast<float>(x); };
  std::transform(u.get(), u.get() + rows * r, p.u, narrow);
  std::transform(s.get(), s.get() + r, p.s, narrow);
  std::transform(vt.get(), vt.get() + r * columns, p.vt, narrow);
  return true;
}

template bool svd_gesdd<float>(const SvdProblem<float>&);
template bool svd_gesdd<double>(const SvdProblem<double>&);
template bool svd_gesvd<float>(const SvdProblem<float>&);
template bool svd_gesvd<double>(const SvdProblem<double>&);
template bool svd_divide_and_conquer<float>(const SvdProblem<float>&);
template bool svd_divide_and_conquer<double>(const SvdProblem<double>&);

}  // namespace sigma::cpu
