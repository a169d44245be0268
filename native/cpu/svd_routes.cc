#include "svd_routes.h"

#include <cmath>
#include <limits>

#include "lapack.h"
#include "pool.h"

namespace sigma::cpu {
namespace {

// The query comes back as a T, which in float32 cannot hold every integer: go one number up.
template <class T>
int workspace_size(T query) {
  const double size = std::ceil(static_cast<double>(std::nextafter(query, std::numeric_limits<T>::max())));
  return blas_int(static_cast<int64_t>(size));
}

// For `rows` vectors that LAPACK's blocked routines work on, 64 at a time, and the triangle that belongs to a block.
int blocked_workspace(int rows) { return blas_int(int64_t{64} * rows + 65 * 64); }

// A column-major matrix.
template <class T>
struct Columns {
  T* data;
  int rows, columns, stride;
  T* column(int j) const { return data + static_cast<size_t>(j) * static_cast<size_t>(stride); }
};

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

// a (M, N) → u (M, r), s (r), vt (r, N); a is overwritten.
template <class T>
bool bidiagonal_svd(const Columns<T>& a, T* s, const Columns<T>& u, const Columns<T>& vt) {
  const int m = a.rows, n = a.columns, r = std::min(m, n);
  const auto count = static_cast<size_t>(r);
  const auto e = numbers<T>(count), tauq = numbers<T>(count), taup = numbers<T>(count);
  {
    // Room for blocks of 64; a very long matrix does without.
    const int64_t sides = int64_t{m} + n;
    const int lwork = blas_int(std::max(sides, std::min<int64_t>(64 * sides, std::numeric_limits<int>::max())));
    const auto work = numbers<T>(static_cast<size_t>(lwork));
    Lapack<T>::gebrd(m, n, a.data, a.stride, s, e.get(), tauq.get(), taup.get(), work.get(), lwork);
  }
  // The small factors go into the corner of the large ones; a square one is all corner.
  if (u.rows > r) fill_zero(u);
  if (vt.columns > r) fill_zero(vt);
  {
    const auto work = numbers<T>(3 * count * count + 4 * count);
    const auto iwork = numbers<int>(8 * count);
    const int info = Lapack<T>::bdsdc(m >= n ? "U" : "L", r, s, e.get(), u.data, u.stride, vt.data, vt.stride,
                                      work.get(), iwork.get());
    if (info != 0) return false;
  }
  const int64_t tiles = blocks(r, kTile);
  parallel_for(2 * tiles, [&](int64_t task) {
    const int begin = static_cast<int>(task / 2) * kTile;
    const int length = std::min(kTile, r - begin);
    const int lwork = blocked_workspace(length);
    const auto work = numbers<T>(static_cast<size_t>(lwork));
    if (task % 2 == 0) {
      Lapack<T>::ormbr("Q", "L", "N", m, length, n, a.data, a.stride, tauq.get(), u.column(begin), u.stride, work.get(),
                       lwork);
    } else {
      Lapack<T>::ormbr("P", "R", "T", length, n, m, a.data, a.stride, taup.get(), vt.data + begin, vt.stride,
                       work.get(), lwork);
    }
  });
  return true;
}

// The triangle that QR (upper) or LQ (lower) left in a, as a matrix of its own (r, r).
template <class T>
std::unique_ptr<T[]> triangle_of(const Columns<T>& a, int r, bool upper) {
  auto triangle = numbers<T>(static_cast<size_t>(r) * static_cast<size_t>(r));
  const Columns<T> to{triangle.get(), r, r, r};
  for (int j = 0; j < r; ++j) {
    for (int i = 0; i < r; ++i) to.column(j)[i] = (upper ? i <= j : i >= j) ? a.column(j)[i] : T{0};
  }
  return triangle;
}

// Q times the columns of c, or the rows of c times Q, in tiles on the pool.
template <class T>
void apply_orthogonal(bool left, const Columns<T>& a, const T* tau, const Columns<T>& c) {
  const int vectors = left ? c.columns : c.rows;
  parallel_for(blocks(vectors, kTile), [&](int64_t task) {
    const int begin = static_cast<int>(task) * kTile;
    const int length = std::min(kTile, vectors - begin);
    const int lwork = blocked_workspace(length);
    const auto work = numbers<T>(static_cast<size_t>(lwork));
    if (left) {
      Lapack<T>::ormqr("L", "N", c.rows, length, a.columns, a.data, a.stride, tau, c.column(begin), c.stride,
                       work.get(), lwork);
    } else {
      Lapack<T>::ormlq("R", "N", length, c.columns, a.rows, a.data, a.stride, tau, c.data + begin, c.stride, work.get(),
                       lwork);
    }
  });
}

// From this ratio of the sides on, LAPACK's own choice, QR or LQ first is cheaper.
bool much_longer(int64_t longer, int64_t shorter) { return 6 * longer >= 11 * shorter; }

}  // namespace

template <class T>
bool svd_gesdd(const SvdProblem<T>& p) {
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
  if (p.r > 1 && (tall || wide)) {
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
    const auto triangle = triangle_of(a, p.r, tall);
    // The triangle's own factors stand in the corner of the result's; what lies beyond is zero until Q is applied.
    fill_zero(u);
    fill_zero(vt);
    solved = bidiagonal_svd<T>({triangle.get(), p.r, p.r, p.r}, p.s, {u.data, p.r, p.r, u.stride},
                               {vt.data, p.r, p.r, vt.stride});
    if (solved) apply_orthogonal(tall, a, tau.get(), tall ? u : vt);
  } else {
    solved = bidiagonal_svd(a, p.s, u, vt);
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
