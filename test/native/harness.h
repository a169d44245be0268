// A test harness without Node, for the sanitizers. Compares the backend's table and the recipes with float64 loops.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <vector>

#include "contract/engine.h"

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
void svd_chain();
void svd_partial();
void adapters();
void each();
void concurrency();
void limits();

}  // namespace check
