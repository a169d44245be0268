// row_dots, column_sums and the bias: operations that add to their output.
#include "cuda/gemm/bias.h"
#include "families.h"
#include "harness.h"

namespace check {
namespace {

constexpr Layout kLayouts[] = {{0, 0}, {16, 0}, {3, 1}};

std::string describe(const char* type, int64_t rows, int64_t columns, Layout layout) {
  return std::string(type) + ", " + std::to_string(rows) + " x " + std::to_string(columns) + ", layout +" +
         std::to_string(layout.padding) + " " + std::to_string(layout.offset);
}

template <class T>
void expect_sums(const std::string& what, const std::vector<Number<T>>& got, const std::vector<Sum>& want) {
  int wrong = 0;
  for (size_t i = 0; i < want.size(); ++i) wrong += !close<Number<T>>(number(got[i]), want[i]);
  expect(wrong == 0, what + ": " + std::to_string(wrong) + " sums");
}

template <class V>
std::vector<Sum> started(const std::vector<V>& start) {
  std::vector<Sum> sums(start.size());
  for (size_t i = 0; i < start.size(); ++i) sums[i].add(number(start[i]));
  return sums;
}

// What the sums contain before: NaN if they are fresh, because nothing may read them.
template <class V>
std::vector<V> started_from(int64_t count, bool fresh, unsigned seed) {
  return fresh ? std::vector<V>(static_cast<size_t>(count), static_cast<V>(kNaN)) : random_vector<V>(count, seed);
}

// Which rows are summed: all, those with mask > 0, or those with mask + offset > 0.
enum Masking { kAll, kMasked, kShifted };
constexpr const char* kNames[] = {"", ", masked", ", masked with an offset"};

template <class T>
void check_row_dots(int64_t rows, int64_t tokens, Layout layout, Masking masking, bool with_nan = false,
                    bool fresh = false) {
  using V = Number<T>;
  Matrix<T> a = Matrix<T>::random(rows, tokens, layout, 41);
  Matrix<T> b = Matrix<T>::random(rows, tokens, layout, 42);
  auto mask = random_vector<V>(rows, 43);
  if (rows > 2) mask[1] = V(0);
  if (rows > 2) mask[2] = static_cast<V>(kNaN);
  if (with_nan) a.at(rows / 2, tokens / 2) = rounded<T>(kNaN);
  const auto offset = random_vector<V>(rows, 49);
  const V* const masked = masking == kAll ? nullptr : mask.data();
  const V* const shifted = masking == kShifted ? offset.data() : nullptr;
  const auto start = started_from<V>(rows, fresh, 44);
  const std::string what = describe(kName<T>, rows, tokens, layout) + kNames[masking] + (fresh ? ", fresh" : "");
  const auto got = repeatable(what, [&] {
    sigma_context context(0);
    std::vector<V> sums = start;
    sigma::cuda::row_dots(context, {kReal<T>, a.view(), b.view(), masked, shifted, sums.data(), fresh});
    return sums;
  });
  std::vector<Sum> want = fresh ? std::vector<Sum>(start.size()) : started(start);
  for (int64_t i = 0; i < rows; ++i) {
    const auto at = static_cast<size_t>(i);
    if (masked != nullptr && !((shifted != nullptr ? mask[at] + offset[at] : mask[at]) > 0)) continue;
    for (int64_t t = 0; t < tokens; ++t) want[static_cast<size_t>(i)].add(a(i, t) * b(i, t));
  }
  expect_sums<T>(what, got, want);
}

template <class T>
void check_column_sums(int64_t tokens, int64_t columns, Layout layout, bool with_nan = false, bool fresh = false) {
  using V = Number<T>;
  Matrix<T> a = Matrix<T>::random(tokens, columns, layout, 45);
  if (with_nan) a.at(tokens / 2, columns / 2) = rounded<T>(kNaN);
  const auto start = started_from<V>(columns, fresh, 46);
  const std::string what = describe(kName<T>, tokens, columns, layout) + (fresh ? ", fresh" : "");
  const auto got = repeatable(what, [&] {
    sigma_context context(0);
    std::vector<V> sums = start;
    sigma::cuda::column_sums(context, {kReal<T>, a.view(), sums.data(), fresh});
    return sums;
  });
  std::vector<Sum> want = fresh ? std::vector<Sum>(start.size()) : started(start);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t j = 0; j < columns; ++j) want[static_cast<size_t>(j)].add(a(t, j));
  }
  expect_sums<T>(what, got, want);
}

template <class T>
void check_bias(int64_t rows, int64_t columns, Layout layout) {
  const std::string what = describe(kName<T>, rows, columns, layout);
  const auto bias = random_vector<Number<T>>(columns, 47);
  const auto start = Matrix<T>::random(rows, columns, layout, 48);
  const Matrix<T> got = repeatable(what, [&] {
    sigma_context context(0);
    Matrix<T> c = start;
    sigma::cuda::add_bias(context, c.view(), bias.data());
    return c;
  });
  int wrong = 0;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      Sum want;
      want.add(start(i, j));
      want.add(number(bias[static_cast<size_t>(j)]));
      wrong += !close<T>(got(i, j), want);
    }
  }
  expect(wrong == 0, what + ": " + std::to_string(wrong) + " numbers");
  expect(got.padding_untouched(), what + ": wrote between rows");
}

template <class T>
void row_dots_of() {
  for (const Layout layout : kLayouts) {
    for (const Masking masking : {kAll, kMasked, kShifted}) {
      for (const int64_t tokens : {1, 4, 7, 64, 127, 128, 129, 256, 257, 2048, 2049, 5000}) {
        check_row_dots<T>(11, tokens, layout, masking);
        check_row_dots<T>(11, tokens, layout, masking, false, true);
      }
      check_row_dots<T>(1, 4200, layout, masking);
      check_row_dots<T>(1, 4200, layout, masking, false, true);
      check_row_dots<T>(70, 300, layout, masking, true);
    }
  }
}

template <class T>
void biases_of() {
  for (const Layout layout : kLayouts) {
    check_bias<T>(1, 1, layout);
    check_bias<T>(3, 257, layout);
    check_bias<T>(1100, 5, layout);
  }
}

template <class T>
void column_sums_of() {
  for (const Layout layout : kLayouts) {
    for (const int64_t tokens : {1, 2, 8, 9, 63, 64, 65, 200, 1000}) {
      for (const int64_t columns : {1, 3, 8, 64, 257}) check_column_sums<T>(tokens, columns, layout);
      check_column_sums<T>(tokens, 64, layout, false, true);
    }
    check_column_sums<T>(70, 600, layout, true);
  }
}

}  // namespace

void row_dots() {
  row_dots_of<float>();
  row_dots_of<double>();
  row_dots_of<bfloat16>();
  sigma_context context(0);
  const sigma_matrix wide = Matrix<float>(1, 1, kLayouts[0]).view();
  const sigma_matrix half = Matrix<bfloat16>(1, 1, kLayouts[0]).view();
  for (const auto& [real, a, b] : {std::tuple(SIGMA_REAL32, wide, half), std::tuple(SIGMA_REAL64, half, half)}) {
    bool refused = false;
    try {
      sigma::cuda::row_dots(context, {real, a, b, nullptr, nullptr, nullptr, 0});
    } catch (const sigma::Failure& failure) {
      refused = failure.status() == SIGMA_UNSUPPORTED;
    }
    expect(refused, "row_dots rejects matrices of two types, or of a type that does not go with the sums");
  }
}

void biases() {
  biases_of<float>();
  biases_of<double>();
  biases_of<bfloat16>();
}

void column_sums() {
  column_sums_of<float>();
  column_sums_of<double>();
  column_sums_of<bfloat16>();
}

}  // namespace check
