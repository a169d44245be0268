// Eigenvectors of a positive semi-definite matrix, by the singular vectors of a factor of its tridiagonal form.
#include "cpu/svd/semidefinite.h"

#include <limits>

#include "harness.h"

namespace check {
namespace {

using sigma::cpu::Columns;
using sigma::cpu::semidefinite_eigenvectors;

template <class T>
struct Eigenpairs {
  // The `wanted` largest of h (n, n), of which the upper triangle is not read.
  Eigenpairs(const std::vector<double>& given, int n, int wanted)
      : h(given.begin(), given.end()), values(static_cast<size_t>(n)),
        vectors(static_cast<size_t>(n) * static_cast<size_t>(wanted)) {
    for (int j = 0; j < n; ++j) {
      for (int i = 0; i < j; ++i) h[static_cast<size_t>(j * n + i)] = std::numeric_limits<T>::quiet_NaN();
    }
    solved = semidefinite_eigenvectors(Columns<T>{h.data(), n, n, n}, values.data(), {vectors.data(), n, wanted, n});
  }
  std::vector<T> h, values, vectors;
  bool solved = false;
};

template <class T>
void finds(int n, const std::function<double(int)>& eigenvalue, const char* what) {
  const auto factor = with_spectrum<double>(n, n, [&](int j) { return std::sqrt(eigenvalue(j)); });
  // Rounded to T, as the library sees it.
  const auto exact = product(factor, false, factor, true, n, n, n);
  const std::vector<T> rounded(exact.begin(), exact.end());
  const std::vector<double> h(rounded.begin(), rounded.end());
  const int wanted = n - n / 3;
  const auto find = [&] { return Eigenpairs<T>(h, n, wanted); };
  const Eigenpairs<T> found = with_threads(1, find), again = with_threads(3, find);
  expect(found.solved, what);
  expect(found.values == again.values && found.vectors == again.vectors, "the same bits for any number of threads");
  double off = 0;
  for (int j = 0; j < n; ++j) {
    keep_worse(off, (static_cast<double>(found.values[static_cast<size_t>(j)]) - eigenvalue(j)) / eigenvalue(0));
  }
  // The vectors by columns are rows of `vectors`: V H - diag(λ) V.
  const auto image = product(found.vectors, false, std::vector<T>(h.begin(), h.end()), false, wanted, n, n);
  for (int j = 0; j < wanted; ++j) {
    for (int i = 0; i < n; ++i) {
      const auto at = static_cast<size_t>(j * n + i);
      const double part = static_cast<double>(found.values[static_cast<size_t>(j)] * found.vectors[at]);
      keep_worse(off, (image[at] - part) / eigenvalue(0));
    }
  }
  for (const double x : from_identity(found.vectors, wanted, n, true)) keep_worse(off, x);
  expect(off <= 60 * static_cast<double>(std::numeric_limits<T>::epsilon()), what);
}

template <class T>
void all() {
  for (const int n : {1, 2, 3, 17, 64, 150}) {
    finds<T>(
        n, [](int j) { return 1 / (1.0 + j); }, "eigenvalues that fall slowly");
    finds<T>(
        n, [](int j) { return std::pow(0.7, j); }, "eigenvalues that fall below rounding");
    finds<T>(
        n, [](int j) { return j < 5 ? 5.0 - j : 0.0; }, "a matrix of low rank");
    finds<T>(
        n, [](int) { return 3.0; }, "equal eigenvalues");
  }
  const std::vector<double> zeros(16), bad(16, std::numeric_limits<double>::quiet_NaN()),
      large(16, std::numeric_limits<double>::infinity());
  expect(!Eigenpairs<T>(zeros, 4, 2).solved, "zeros have no factor");
  expect(!Eigenpairs<T>(bad, 4, 2).solved && !Eigenpairs<T>(large, 4, 2).solved, "numbers that are not finite");
  std::vector<double> negative(16);
  for (size_t i = 0; i < 4; ++i) negative[5 * i] = i == 2 ? -1 : 0.01;
  expect(!Eigenpairs<T>(negative, 4, 2).solved, "a matrix that is not semi-definite");
}

}  // namespace

void semidefinite() {
  all<float>();
  all<double>();
}

}  // namespace check
