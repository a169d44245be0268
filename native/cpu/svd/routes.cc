#include "cpu/svd/routes.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/runtime/pool.h"
#include "cpu/svd/bidiagonal.h"
#include "cpu/svd/divide.h"
#include "cpu/svd/lapack.h"
#include "cpu/svd/long_qr.h"
#include "cpu/svd/reflectors.h"
#include "cpu/svd/transpose.h"
#include "cpu/svd/triangle.h"

namespace sigma::cpu {
namespace {

// LAPACK returns the size as a T. float32 may have rounded it down, so this takes the next larger number.
template <class T>
int workspace_size(T query) {
  const double size = std::ceil(static_cast<double>(std::nextafter(query, std::numeric_limits<T>::max())));
  return blas_int(static_cast<int64_t>(size));
}

// Vectors of U or VT per task.
constexpr int kTile = 1024;

// a (M, N), M ≥ N → u (M, N), s (N), vt (N, N); a is overwritten.
template <class T>
bool bidiagonal_svd(const PaddedColumns<T>& padded, T* s, const Columns<T>& u, const Columns<T>& vt) {
  const Columns<T> a = padded.view();
  const int n = a.columns;
  const auto count = static_cast<size_t>(n);
  const auto e = numbers<T>(count), tauq = numbers<T>(count), taup = numbers<T>(count);
  bidiagonalise(padded, Bidiagonal<T>{s, e.get(), tauq.get(), taup.get()});
  // The leading square of u is filled; the rows below must be zero.
  if (!divide_and_conquer(s, e.get(), Columns<T>{u.data, n, n, u.stride}, vt)) return false;
  for (int j = 0; j < n; ++j) std::fill(u.at(n, j), u.column(j) + u.rows, T{0});
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

// Below this many numbers, calls cost more than arithmetic; LAPACK's gesdd makes the fewest calls.
constexpr size_t kTiny = 24 * 24;

// Above this aspect ratio QR first is cheaper.
bool much_longer(int64_t m, int64_t n) { return 6 * std::max(m, n) >= 11 * std::min(m, n); }

template <class T>
bool lapack_gesdd(const SvdProblem<T>& p) {
  const ScaledCopy<T> a(p);
  const auto iwork = numbers<int>(8 * static_cast<size_t>(p.r));
  T query = 0;
  Lapack<T>::gesdd(p.n, p.m, a.data(), p.s, p.vt, /* ldu = */ p.n, p.u, /* ldvt = */ p.r, &query, /* lwork = */ -1,
                   iwork.get());
  const int lwork = workspace_size(query);
  const auto work = numbers<T>(static_cast<size_t>(lwork));
  const int info = Lapack<T>::gesdd(p.n, p.m, a.data(), p.s, p.vt, /* ldu = */ p.n, p.u, /* ldvt = */ p.r, work.get(),
                                    lwork, iwork.get());
  if (info != 0) return false;
  a.restore(p);
  return true;
}

template <class T>
bool lapack_gesvd(const SvdProblem<T>& p) {
  const ScaledCopy<T> a(p);
  T query = 0;
  Lapack<T>::gesvd(p.n, p.m, a.data(), p.s, p.vt, /* ldu = */ p.n, p.u, /* ldvt = */ p.r, &query, /* lwork = */ -1);
  const int lwork = workspace_size(query);
  const auto work = numbers<T>(static_cast<size_t>(lwork));
  const int info =
      Lapack<T>::gesvd(p.n, p.m, a.data(), p.s, p.vt, /* ldu = */ p.n, p.u, /* ldvt = */ p.r, work.get(), lwork);
  if (info != 0) return false;
  a.restore(p);
  return true;
}

}  // namespace

template <class T>
bool svd_gesdd(const SvdProblem<T>& p) {
  // It needs a workspace of 3 r² + 7 r numbers and does not detect overflow of this 32-bit size.
  if (3 * int64_t{p.r} * p.r + 7 * int64_t{p.r} > std::numeric_limits<int>::max()) {
    throw Failure(SIGMA_UNSUPPORTED,
                  "the shorter side, " + std::to_string(p.r) + ", exceeds the 32-bit workspace of LAPACK's gesdd");
  }
  return is_long(std::max(p.m, p.n), p.r) ? through_triangle(p, lapack_gesdd<T>) : lapack_gesdd(p);
}

template <class T>
bool svd_gesvd(const SvdProblem<T>& p) {
  return is_long(std::max(p.m, p.n), p.r) ? through_triangle(p, lapack_gesvd<T>) : lapack_gesvd(p);
}

template <class T>
bool svd_divide_and_conquer(const SvdProblem<T>& p) {
  if (p.size() < kTiny) return lapack_gesdd(p);
  if (much_longer(p.m, p.n)) return through_triangle(p, svd_divide_and_conquer<T>);
  const ScaledCopy<T> copy(p);
  // LAPACK sees Aᵀ: column-major (n, m).
  const Columns<T> a{copy.data(), p.n, p.m, p.n};
  const Columns<T> u{p.vt, p.n, p.r, p.n};
  const Columns<T> vt{p.u, p.r, p.m, p.r};
  bool solved = false;
  if (a.columns > a.rows) {
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
  if (solved) copy.restore(p);
  return solved;
}

template <SvdRoute<double> route>
bool svd_in_float64(const SvdProblem<float>& p) {
  const auto rows = static_cast<size_t>(p.m), columns = static_cast<size_t>(p.n), r = static_cast<size_t>(p.r);
  const auto a = numbers<double>(p.size()), u = numbers<double>(rows * r), s = numbers<double>(r);
  const auto vt = numbers<double>(r * columns);
  std::copy_n(p.a, p.size(), a.get());
  if (!route(SvdProblem<double>(p.m, p.n, a.get(), u.get(), s.get(), vt.get()))) return false;
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
template bool svd_in_float64<svd_gesdd<double>>(const SvdProblem<float>&);
template bool svd_in_float64<svd_gesvd<double>>(const SvdProblem<float>&);
template bool svd_in_float64<svd_divide_and_conquer<double>>(const SvdProblem<float>&);

}  // namespace sigma::cpu
