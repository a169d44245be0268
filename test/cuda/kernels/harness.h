// Shared by the kernel checks: counted expectations, numbers of the three types, and memory with guards.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "contract/engine.h"
#include "cuda/ops.h"
#include "cuda/runtime/context.h"
#include "cuda/runtime/kernels/device.cuh"

namespace check {

using sigma::cuda::bfloat16;
using sigma::cuda::Number;

// Counts expectations per family, and prints the first few failures of each family.
void begin_family(const char* name);
void expect(bool condition, const std::string& what);
// Ends a family that has failed, if all that matters is that it fails.
void end_if_failed();

// The device of the fake context.
sigma::cuda::Device& device();

// ── numbers ──────────────────────────────────────────────────────────────────────────────────────────────

template <class T>
constexpr sigma_dtype kDtype = std::is_same_v<T, bfloat16> ? SIGMA_BFLOAT16
                               : sizeof(T) == 8            ? SIGMA_FLOAT64
                                                           : SIGMA_FLOAT32;
template <class T>
constexpr sigma_real kReal = sizeof(T) == 8 ? SIGMA_REAL64 : SIGMA_REAL32;
template <class T>
constexpr const char* kName = std::is_same_v<T, bfloat16> ? "bfloat16"
                              : sizeof(T) == 8            ? "float64"
                                                          : "float32";

// The relative error of one rounding to T, and of one operation in the arithmetic of T.
template <class T>
constexpr double kRounding = std::is_same_v<T, bfloat16> ? 0x1p-8 : std::numeric_limits<Number<T>>::epsilon();
template <class T>
constexpr double kArithmetic = std::numeric_limits<Number<T>>::epsilon();

// Rounds to nearest, ties to even, by arithmetic only.
bfloat16 nearest_bfloat16(double value);

inline double number(double value) { return value; }
inline double number(float value) { return static_cast<double>(value); }
inline double number(bfloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, sizeof(wide));
  return static_cast<double>(wide);
}

template <class T>
T rounded(double value) {
  if constexpr (std::is_same_v<T, bfloat16>) {
    return nearest_bfloat16(value);
  } else {
    return static_cast<T>(value);
  }
}

template <class T>
std::vector<T> random_vector(int64_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<T> numbers(static_cast<size_t>(count));
  for (T& n : numbers) n = rounded<T>(normal(generator));
  return numbers;
}

// ── memory ───────────────────────────────────────────────────────────────────────────────────────────────

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Row layout: `padding` numbers after each row; the first row is `offset` numbers off 16-byte alignment. Padding is
// NaN. Memory ends with the last row, so that the address sanitizer detects reads beyond it.
struct Layout {
  int64_t padding;
  int64_t offset;
};

template <class T>
class Matrix {
 public:
  Matrix(int64_t rows, int64_t columns, Layout layout)
      : rows_(rows), columns_(columns), stride_(columns + layout.padding), offset_(layout.offset) {
    memory_.assign(static_cast<size_t>(offset_ + (rows - 1) * stride_ + columns), rounded<T>(kNaN));
  }
  static Matrix random(int64_t rows, int64_t columns, Layout layout, unsigned seed) {
    Matrix matrix(rows, columns, layout);
    const std::vector<T> numbers = random_vector<T>(rows * columns, seed);
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t t = 0; t < columns; ++t) matrix.at(i, t) = numbers[static_cast<size_t>(i * columns + t)];
    }
    return matrix;
  }

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  T& at(int64_t i, int64_t t) { return memory_[static_cast<size_t>(offset_ + i * stride_ + t)]; }
  double operator()(int64_t i, int64_t t) const {
    return number(memory_[static_cast<size_t>(offset_ + i * stride_ + t)]);
  }
  sigma_matrix view() { return {memory_.data() + offset_, rows_, columns_, stride_, kDtype<T>, nullptr}; }

  // Whether the padding is still NaN: kernels must not write there.
  bool padding_untouched() const {
    for (size_t at = 0; at < memory_.size(); ++at) {
      const int64_t behind = static_cast<int64_t>(at) - offset_;
      const bool inside = behind >= 0 && behind % stride_ < columns_;
      if (!inside && !std::isnan(number(memory_[at]))) return false;
    }
    return true;
  }
  bool same_bits(const Matrix& other) const {
    return std::memcmp(memory_.data(), other.memory_.data(), memory_.size() * sizeof(T)) == 0;
  }

 private:
  int64_t rows_, columns_, stride_, offset_;
  std::vector<T> memory_;
};

// Numbers between NaN guards, `offset` numbers off 16-byte alignment.
template <class T>
class Guarded {
 public:
  Guarded(const std::vector<T>& numbers, int64_t offset) : offset_(static_cast<size_t>(offset)) {
    memory_.assign(offset_, rounded<T>(kNaN));
    memory_.insert(memory_.end(), numbers.begin(), numbers.end());
    memory_.push_back(rounded<T>(kNaN));
  }
  T* data() { return memory_.data() + offset_; }
  double operator[](size_t i) const { return number(memory_[offset_ + i]); }
  bool guards_untouched() const {
    bool untouched = std::isnan(number(memory_.back()));
    for (size_t i = 0; i < offset_; ++i) untouched = untouched && std::isnan(number(memory_[i]));
    return untouched;
  }

 private:
  size_t offset_;
  std::vector<T> memory_;
};

// Runs body() with blocks and threads in order, and again shuffled. Expects the same bits; returns the first result.
template <class Body>
auto repeatable(const std::string& what, const Body& body) {
  end_if_failed();
  sigma::cuda::shim::options.shuffle = 0;
  const auto first = body();
  sigma::cuda::shim::options.shuffle = 1;
  const auto second = body();
  sigma::cuda::shim::options.shuffle = 0;
  if constexpr (requires { first.same_bits(second); }) {
    expect(first.same_bits(second), what + ": the same bits in any order of blocks");
  } else {
    const size_t bytes = first.size() * sizeof(typename decltype(body())::value_type);
    expect(bytes == 0 || std::memcmp(first.data(), second.data(), bytes) == 0,
           what + ": the same bits in any order of blocks");
  }
  return first;
}

// ── expectations about numbers ───────────────────────────────────────────────────────────────────────────

// A reference sum of terms, and the sum of their magnitudes.
struct Sum {
  double value = 0;
  double size = 0;
  int64_t terms = 0;
  void add(double term) {
    value += term;
    size += std::abs(term);
    ++terms;
  }
};

// Whether `got` is within the error bound of summing in T's arithmetic and rounding once to T.
template <class T>
bool close(double got, const Sum& want) {
  if (std::isnan(want.value)) return std::isnan(got);
  if (std::isinf(want.value)) return got == want.value;
  const double terms = static_cast<double>(want.terms);
  const double bound = kRounding<T> * std::abs(want.value) + kArithmetic<T> * (4 + std::sqrt(terms)) * want.size;
  return std::abs(got - want.value) <= bound;
}

}  // namespace check
