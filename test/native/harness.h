// A test harness without Node, for the sanitizers. Compares the backend's table and the recipes with float64 loops.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <random>
#include <vector>

#include "contract/engine.h"
#include "cpu/runtime/pool.h"

namespace check {

inline int failures = 0;
inline int passes = 0;

inline void expect(bool condition, const char* what) {
  ++(condition ? passes : failures);
  if (!condition) std::fprintf(stderr, "FAILED: %s\n", what);
}

template <class T>
constexpr sigma_real real_of = sizeof(T) == 8 ? SIGMA_REAL64 : SIGMA_REAL32;

// Runs one operation and returns its status.
template <class Call>
sigma_status run(sigma_context* context, sigma_status (*entry)(sigma_context*, const Call*), const Call& call) {
  return entry(context, &call);
}

template <class T>
constexpr double tolerance = sizeof(T) == 8 ? 1e-10 : 2e-4;

template <class T>
std::vector<T> random_numbers(int64_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<T> numbers(static_cast<size_t>(count));
  for (T& number : numbers) number = static_cast<T>(normal(generator));
  return numbers;
}

// worst = max(worst, |off|). Keeps a NaN.
inline void keep_worse(double& worst, double off) {
  if (!(std::abs(off) <= worst) && !std::isnan(worst)) worst = std::abs(off);
}

// Compares each number, with tolerance relative to `size` + |want|.
template <class T>
void expect_close(const std::vector<T>& got, const std::vector<double>& want, const char* what, double size = 1) {
  double worst = got.size() == want.size() ? 0 : 1e300;
  for (size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
    const double difference = std::abs(static_cast<double>(got[i]) - want[i]) / (size + std::abs(want[i]));
    keep_worse(worst, difference);
  }
  expect(worst <= tolerance<T>, what);
}

template <class T>
sigma_matrix view(const std::vector<T>& numbers, int64_t rows, int64_t columns) {
  return sigma::dense_matrix(sigma::dtype_of(real_of<T>), numbers.data(), rows, columns);
}

// op(A) (m, k) op(B) (k, n), by float64 loops
template <class T>
std::vector<double> product(const std::vector<T>& a, bool ta, const std::vector<T>& b, bool tb, int64_t m, int64_t n,
                            int64_t k) {
  std::vector<double> c(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t q = 0; q < k; ++q) {
        sum += static_cast<double>(a[static_cast<size_t>(ta ? q * m + i : i * k + q)]) *
               static_cast<double>(b[static_cast<size_t>(tb ? j * k + q : q * n + j)]);
      }
      c[static_cast<size_t>(i * n + j)] = sum;
    }
  }
  return c;
}

// H_u diag(s) H_v with reflections H.
template <class T>
std::vector<T> with_spectrum(int rows, int columns, const std::function<double(int)>& s) {
  std::vector<double> a(static_cast<size_t>(rows) * static_cast<size_t>(columns));
  for (int i = 0; i < std::min(rows, columns); ++i) a[static_cast<size_t>(i) * columns + i] = s(i);
  for (unsigned seed = 1; seed <= 3; ++seed) {
    const auto u = random_numbers<double>(rows, seed), v = random_numbers<double>(columns, seed + 10);
    double uu = 0, vv = 0;
    for (const double x : u) uu += x * x;
    for (const double x : v) vv += x * x;
    std::vector<double> ua(static_cast<size_t>(columns));
    for (int i = 0; i < rows; ++i) {
      double* const row = a.data() + static_cast<size_t>(i) * columns;
      double dot = 0;
      for (int j = 0; j < columns; ++j) dot += row[j] * v[static_cast<size_t>(j)];
      for (int j = 0; j < columns; ++j) {
        row[j] -= 2 / vv * dot * v[static_cast<size_t>(j)];
        ua[static_cast<size_t>(j)] += u[static_cast<size_t>(i)] * row[j];
      }
    }
    for (int i = 0; i < rows; ++i) {
      for (int j = 0; j < columns; ++j) {
        a[static_cast<size_t>(i) * columns + j] -= 2 / uu * u[static_cast<size_t>(i)] * ua[static_cast<size_t>(j)];
      }
    }
  }
  return {a.begin(), a.end()};
}

// aᵀa - 1 (count, count), or a aᵀ - 1 with `by_rows`.
template <class T>
std::vector<double> from_identity(const std::vector<T>& a, int64_t count, int64_t length, bool by_rows) {
  std::vector<double> gram = product(a, !by_rows, a, by_rows, count, count, length);
  for (int64_t i = 0; i < count; ++i) gram[static_cast<size_t>(i * (count + 1))] -= 1;
  return gram;
}

// What `body` returns with this many threads.
template <class Body>
auto with_threads(int count, const Body& body) {
  const int before = sigma::cpu::threads();
  sigma::cpu::set_threads(count);
  auto result = body();
  sigma::cpu::set_threads(before);
  return result;
}

// A CSR structure and its transpose: random with duplicates and empty rows, or a band.
struct Pattern {
  std::vector<int32_t> rows, columns, transposed_rows, transposed_columns, slots;
  sigma_pattern view{};
  Pattern(int64_t size, int64_t entries, unsigned seed);
  static Pattern band(int64_t size, int64_t lower, int64_t upper);

 private:
  Pattern() = default;
  void fill(int64_t size, const std::multimap<std::pair<int32_t, int32_t>, int>& cells, bool banded);
};

// A core as a dense float64 matrix (r, r).
template <class T>
std::vector<double> dense_core(const Pattern& pattern, const std::vector<T>& values, const T* diagonal, double g) {
  const int64_t r = pattern.view.size;
  std::vector<double> c(static_cast<size_t>(r * r));
  for (int64_t i = 0; i < r; ++i) {
    if (diagonal != nullptr) c[static_cast<size_t>(i * r + i)] += static_cast<double>(diagonal[i]);
    for (int32_t p = pattern.rows[static_cast<size_t>(i)]; p < pattern.rows[static_cast<size_t>(i) + 1]; ++p) {
      c[static_cast<size_t>(i * r + pattern.columns[static_cast<size_t>(p)])] +=
          g * static_cast<double>(values[static_cast<size_t>(p)]);
    }
  }
  return c;
}

// A sparse core; `diagonal` and `gate` may be null.
template <class T>
sigma_core sparse_core(const Pattern& pattern, const std::vector<T>& values, const T* diagonal, const T* gate) {
  sigma_core core = {};
  core.size = pattern.view.size;
  core.diagonal = diagonal;
  core.pattern = &pattern.view;
  core.values = values.data();
  core.gate = gate;
  return core;
}

void operations();
void bidiagonal();
void divide();
void triangle();
void block_vectors();
void semidefinite();
void svd_chain();
void svd_partial();
void adapters();
void each();
void concurrency();
void limits();

}  // namespace check
