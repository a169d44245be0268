// Matrices that are hard to decompose.
#pragma once

#include <algorithm>

#include "check.h"

namespace sigma::check {

struct Shape {
  int64_t m, n;
  int64_t r() const { return std::min(m, n); }
};

// A row-major matrix, rounded to its type.
struct Matrix {
  Shape shape;
  std::vector<double> numbers;
  double at(int64_t i, int64_t j) const { return numbers[static_cast<size_t>(i * shape.n + j)]; }
};

inline Matrix random_matrix(Shape shape, unsigned seed) {
  return {shape, gaussian(static_cast<size_t>(shape.m * shape.n), seed)};
}

inline Matrix scaled(Matrix a, double factor) {
  for (double& x : a.numbers) x *= factor;
  return a;
}

// Random singular vectors with the given singular values.
inline Matrix with_values(Shape shape, const std::vector<double>& values, unsigned seed) {
  Matrix a{shape, std::vector<double>(static_cast<size_t>(shape.m * shape.n), 0.0)};
  for (size_t k = 0; k < values.size(); ++k) {
    const auto u = gaussian(static_cast<size_t>(shape.m), seed + 2 * static_cast<unsigned>(k));
    const auto v = gaussian(static_cast<size_t>(shape.n), seed + 2 * static_cast<unsigned>(k) + 1);
    for (int64_t i = 0; i < shape.m; ++i) {
      for (int64_t j = 0; j < shape.n; ++j) {
        a.numbers[static_cast<size_t>(i * shape.n + j)] +=
            values[k] * u[static_cast<size_t>(i)] * v[static_cast<size_t>(j)];
      }
    }
  }
  return a;
}

// Exactly rank 3.
inline Matrix deficient(Shape shape, unsigned seed) {
  Matrix a{shape, std::vector<double>(static_cast<size_t>(shape.m * shape.n), 0.0)};
  for (unsigned k = 0; k < 3; ++k) {
    const auto u = gaussian(static_cast<size_t>(shape.m), seed + 2 * k),
               v = gaussian(static_cast<size_t>(shape.n), seed + 2 * k + 1);
    for (int64_t i = 0; i < shape.m; ++i) {
      for (int64_t j = 0; j < shape.n; ++j) {
        a.numbers[static_cast<size_t>(i * shape.n + j)] +=
            std::round(4 * u[static_cast<size_t>(i)]) * std::round(4 * v[static_cast<size_t>(j)]);
      }
    }
  }
  return a;
}

// A column whose largest entries are equal; the first of them is negative.
inline Matrix with_equals() {
  Matrix a{{12, 1}, std::vector<double>(12, 0.125)};
  a.numbers[1] = -1;
  a.numbers[8] = 1;
  return a;
}

inline std::vector<double> geometric(int64_t count, double condition) {
  std::vector<double> values;
  for (int64_t k = 0; k < count; ++k) {
    values.push_back(
        std::pow(condition, -static_cast<double>(k) / static_cast<double>(std::max<int64_t>(count - 1, 1))));
  }
  return values;
}

}  // namespace sigma::check
