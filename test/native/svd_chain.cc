// The chain of routes behind svd's 'auto' never returns a wrong answer.
#include <array>

#include "cpu/svd/solve.h"
#include "harness.h"

namespace check {
namespace {

using sigma::cpu::SvdProblem;

template <class T>
bool gives_up(const SvdProblem<T>&) {
  return false;
}

// Does not converge, after it has overwritten the previous answer.
template <class T>
bool gives_up_late(const SvdProblem<T>& p) {
  std::fill_n(p.u, p.m * p.r, T{0});
  return false;
}

template <class T>
bool right(const SvdProblem<T>& p) {
  return sigma::cpu::svd_gesvd(p);
}

// Correct except for one number.
template <class T, int what>
bool slightly_wrong(const SvdProblem<T>& p) {
  right(p);
  if (what == 0) p.u[p.r] += static_cast<T>(0.01);
  if (what == 1) p.s[p.r - 1] += static_cast<T>(0.01) * p.s[0];
  if (what == 2) p.vt[1] = -p.vt[1] + static_cast<T>(0.01);
  if (what == 3) p.s[0] = std::numeric_limits<T>::quiet_NaN();
  if (what == 4) p.u[0] = std::numeric_limits<T>::infinity();
  return true;
}

// Beyond the limits, but within `forgiven`.
template <class T>
bool forgiven(const SvdProblem<T>& p) {
  right(p);
  for (int k = 0; k < p.r; ++k) p.s[k] *= static_cast<T>(1 + 4 * sigma::SvdLimits<T>::values);
  return true;
}

template <class T>
bool all_zero(const SvdProblem<T>& p) {
  right(p);
  std::fill_n(p.s, p.r, T{0});
  return true;
}

template <class T>
bool solves(const std::vector<sigma::cpu::SvdRoute<T>>& chain, int rows, int columns, T scale) {
  auto a = random_numbers<T>(int64_t{rows} * columns, 31);
  for (T& number : a) number *= scale;
  const auto r = static_cast<size_t>(std::min(rows, columns));
  std::vector<T> u(static_cast<size_t>(rows) * r), s(r), vt(r * static_cast<size_t>(columns));
  const SvdProblem<T> p(rows, columns, a.data(), u.data(), s.data(), vt.data());
  try {
    sigma::cpu::svd_solve<T>(chain, p);
  } catch (const sigma::Failure& failure) {
    expect(failure.status() == SIGMA_NOT_CONVERGED, "the chain's failure is NOT_CONVERGED");
    return false;
  }
  auto scaled = u;
  for (size_t i = 0; i < scaled.size(); ++i) scaled[i] *= s[i % r];
  const auto again = product(scaled, false, vt, false, rows, columns, static_cast<int64_t>(r));
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) worst = std::fmax(worst, std::abs(static_cast<double>(a[i]) - again[i]));
  expect(worst <= (sizeof(T) == 4 ? 1e-4 : 1e-12) * static_cast<double>(s[0]), "the chain's answer reproduces A");
  return true;
}

// Whether divide and conquer fills all of u, s and vt correctly. Large ones need several tiles of vectors.
template <class T>
bool divides(int rows, int columns) {
  const auto a = random_numbers<T>(int64_t{rows} * columns, 17);
  const auto r = static_cast<size_t>(std::min(rows, columns));
  constexpr T nan = std::numeric_limits<T>::quiet_NaN();
  std::vector<T> u(static_cast<size_t>(rows) * r, nan), s(r, nan), vt(r * static_cast<size_t>(columns), nan);
  const SvdProblem<T> p(rows, columns, a.data(), u.data(), s.data(), vt.data());
  if (!sigma::cpu::svd_divide_and_conquer(p)) return false;
  return sigma::svd_excess<T>(p.m, p.n, p.r, sigma::cpu::svd_measures(p)) <= 2;
}

// The SVD of another matrix, which differs by a sign pattern of rank 1 that is the same in each row.
template <class T, int bits>
bool of_another(const SvdProblem<T>& p) {
  double squares = 0;
  for (size_t i = 0; i < p.size(); ++i) squares += static_cast<double>(p.a[i]) * static_cast<double>(p.a[i]);
  const double relative = 4 * sigma::SvdLimits<T>::forgiven * sigma::SvdLimits<T>::residual;
  const double each = relative * std::sqrt(squares / static_cast<double>(p.size()));
  std::vector<T> other(p.a, p.a + p.size());
  for (size_t i = 0; i < p.size(); ++i) {
    const bool negative = (bits >> (i % static_cast<size_t>(p.n) % 2) & 1) != 0;
    other[i] += static_cast<T>(negative ? -each : each);
  }
  return right(SvdProblem<T>(p.m, p.n, other.data(), p.u, p.s, p.vt));
}

// A probe vector that is orthogonal to an error does not detect it: the others must.
template <class T>
void coherent_errors() {
  for (const auto& [rows, columns] : std::vector<std::array<int, 2>>{{200, 2}, {50, 3}, {70, 5}, {2000, 6}, {60, 40}}) {
    expect(!solves<T>({of_another<T, 0>}, rows, columns, T{1}), "detects an error with equal signs");
    expect(!solves<T>({of_another<T, 1>}, rows, columns, T{1}),
           "detects an error with alternating signs, first negative");
    expect(!solves<T>({of_another<T, 2>}, rows, columns, T{1}), "detects an error with alternating signs");
  }
}

template <class T>
void chain() {
  coherent_errors<T>();
  std::vector<std::array<int, 2>> shapes = {{5, 7}, {30, 41}, {41, 30}, {190, 200}};
  if (sizeof(T) == 4)
    shapes.insert(shapes.end(), {{1030, 1030}, {1030, 1200}, {1200, 1030}, {1030, 1900}, {1900, 1030}});
  for (const auto& [rows, columns] : shapes) {
    expect(divides<T>(rows, columns), "divide and conquer fills u, s and vt");
  }
  constexpr auto dc = sigma::cpu::svd_divide_and_conquer<T>;
  for (const auto& [rows, columns] : std::vector<std::array<int, 2>>{{30, 30}, {90, 20}, {20, 90}, {41, 30}}) {
    // The last two are near the limits of overflow and underflow for this size.
    for (const T scale : {T{1}, std::sqrt(std::numeric_limits<T>::max()), std::sqrt(std::numeric_limits<T>::min()),
                          std::numeric_limits<T>::max() / 1024, std::numeric_limits<T>::min() * 1024}) {
      expect(solves<T>({dc}, rows, columns, scale), "divide and conquer needs no fallback");
    }
    expect(solves<T>({gives_up<T>, right<T>}, rows, columns, T{1}), "after a route that did not converge");
    expect(solves<T>({slightly_wrong<T, 0>, right<T>}, rows, columns, T{1}), "after a wrong U");
    expect(solves<T>({slightly_wrong<T, 1>, right<T>}, rows, columns, T{1}), "after a wrong s");
    expect(solves<T>({slightly_wrong<T, 2>, right<T>}, rows, columns, T{1}), "after a wrong Vt");
    expect(solves<T>({slightly_wrong<T, 3>, right<T>}, rows, columns, T{1}), "after a NaN");
    expect(solves<T>({slightly_wrong<T, 4>, right<T>}, rows, columns, T{1}), "after an Infinity");
    expect(solves<T>({all_zero<T>, right<T>}, rows, columns, static_cast<T>(1e-10)),
           "after zeros instead of small singular values");
    expect(!solves<T>({gives_up<T>, slightly_wrong<T, 0>, all_zero<T>}, rows, columns, T{1}), "no acceptable answer");
    expect(solves<T>({forgiven<T>}, rows, columns, T{1}), "an answer within `forgiven`");
    expect(solves<T>({forgiven<T>, slightly_wrong<T, 0>}, rows, columns, T{1}), "the better of two answers");
    expect(solves<T>({forgiven<T>, gives_up_late<T>}, rows, columns, T{1}),
           "an answer within `forgiven`, then no convergence");
  }
}

}  // namespace

void svd_chain() {
  chain<float>();
  chain<double>();
  expect(solves<float>({sigma::cpu::svd_in_float64<sigma::cpu::svd_divide_and_conquer<double>>}, 37, 25, 1.0F),
         "float32 through float64");
}

}  // namespace check
