// The SVD of long matrices: vectors of the longer side that are products with A, and those that Q gives.
#include <array>
#include <limits>

#include "cpu/svd/routes.h"
#include "harness.h"

namespace check {
namespace {

using sigma::cpu::SvdProblem;

template <class T>
struct Triples {
  Triples(const std::vector<T>& a, int rows, int columns)
      : m(rows), n(columns), r(std::min(m, n)), u(static_cast<size_t>(m) * static_cast<size_t>(r)),
        s(static_cast<size_t>(r)), vt(static_cast<size_t>(r) * static_cast<size_t>(n)) {
    solved = sigma::cpu::svd_divide_and_conquer(SvdProblem<T>(m, n, a.data(), u.data(), s.data(), vt.data()));
  }
  int m, n, r;
  bool solved;
  std::vector<T> u, s, vt;
};

template <class T>
std::vector<T> with_values(int m, int n, const std::vector<double>& s) {
  return with_spectrum<T>(m, n, [&](int j) { return s[static_cast<size_t>(j)]; });
}

// What the library's limits are for: ‖aᵀa - 1‖ / √count (by columns), or of a aᵀ (by rows).
template <class T>
double from_orthonormal(const std::vector<T>& a, int length, int count, bool by_rows) {
  double norm = 0;
  for (const double off : from_identity(a, count, length, by_rows)) norm = std::hypot(norm, off);
  return norm / std::sqrt(static_cast<double>(count));
}

template <class T>
void decomposes(const std::vector<T>& a, int m, int n, const char* what, double most = 40) {
  const Triples<T> got(a, m, n);
  expect(got.solved, what);
  std::vector<double> scaled(got.u.begin(), got.u.end());
  for (size_t i = 0; i < scaled.size(); ++i) scaled[i] *= static_cast<double>(got.s[i % got.s.size()]);
  const std::vector<double> vt(got.vt.begin(), got.vt.end());
  const std::vector<double> again = product(scaled, false, vt, false, m, n, got.r);
  double off = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    off = std::hypot(off, again[i] - static_cast<double>(a[i]));
    size = std::hypot(size, static_cast<double>(a[i]));
  }
  const double epsilon = static_cast<double>(std::numeric_limits<T>::epsilon());
  expect(off <= 40 * epsilon * size, what);
  expect(from_orthonormal(got.u, m, got.r, false) <= most * epsilon, what);
  expect(from_orthonormal(got.vt, n, got.r, true) <= most * epsilon, what);
}

template <class T>
void shapes() {
  using Shape = std::array<int, 2>;
  for (const auto& [m, n] : {Shape{300, 100}, Shape{100, 300}, Shape{90, 30}, Shape{1300, 40}, Shape{40, 1300}}) {
    const auto r = static_cast<size_t>(std::min(m, n));
    std::vector<double> even(r), falling(r), one(r), near(r), far(r);
    for (size_t j = 0; j < r; ++j) {
      const double part = static_cast<double>(j) / static_cast<double>(r - 1);
      even[j] = 2 - part;
      falling[j] = std::pow(10, -5 * part);
      one[j] = j == 0 ? 1 : 0;
      near[j] = j < r / 2 ? 1 : 1.0 / 4.8;
      far[j] = j < r / 2 ? 1 : 1.0 / 24;
    }
    decomposes(with_values<T>(m, n, even), m, n, "values within a factor of 2");
    decomposes(with_values<T>(m, n, falling), m, n, "values that fall to 1e-5");
    decomposes(with_values<T>(m, n, one), m, n, "rank 1");
    // The worst case of products with A, and one that needs Q.
    decomposes(with_values<T>(m, n, near), m, n, "two values near each other", 80);
    decomposes(with_values<T>(m, n, far), m, n, "two values far from each other");
    decomposes(std::vector<T>(static_cast<size_t>(m * n)), m, n, "zeros");
    for (const double scale : {sizeof(T) == 4 ? 1e-30 : 1e-290, sizeof(T) == 4 ? 1e30 : 1e290}) {
      std::vector<double> scaled = falling;
      for (double& s : scaled) s *= scale;
      decomposes(with_values<T>(m, n, scaled), m, n, "numbers far from 1");
    }
  }
}

// The same bits for 1 and 3 threads.
template <class T>
void repeats(int m, int n) {
  std::vector<double> falling(static_cast<size_t>(std::min(m, n)));
  for (size_t j = 0; j < falling.size(); ++j) falling[j] = std::pow(0.9, static_cast<double>(j));
  const auto a = with_values<T>(m, n, falling);
  const auto solve = [&] { return Triples<T>(a, m, n); };
  const Triples<T> first = with_threads(1, solve), second = with_threads(3, solve);
  expect(first.u == second.u && first.s == second.s && first.vt == second.vt,
         "the same bits for any number of threads");
}

}  // namespace

void triangle() {
  shapes<float>();
  shapes<double>();
  repeats<float>(1300, 70);
  repeats<float>(70, 1300);
}

}  // namespace check
