// row_dots, column_sums, layer_gradients and the bias: operations that add to their output.
#include "cuda/gemm/bias.h"
#include "families.h"
#include "harness.h"
#include "pattern.h"

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

// Which gradients a layer has.
struct Wanted {
  bool diagonal, values, gate, bias;
};

// All gradients of a layer in one call, and in one launch if M is diagonal.
template <class T>
void check_layer_gradients(int64_t r, int64_t tokens, int64_t columns, const Wanted& wanted, Masking masking,
                           bool fresh) {
  using V = Number<T>;
  Matrix<T> a = Matrix<T>::random(r, tokens, kLayouts[0], 51);
  Matrix<T> b = Matrix<T>::random(r, tokens, kLayouts[0], 52);
  Matrix<T> dy = Matrix<T>::random(tokens, columns, kLayouts[0], 53);
  const Pattern diagonal = Pattern::band(r, 0, 0);
  const sigma_pattern pattern = diagonal.view();
  const auto values = random_vector<V>(r, 54), mask = random_vector<V>(r, 55), offset = random_vector<V>(r, 56);
  const V gate = V(0.3);
  const double g = 1 / (1 + std::exp(-0.3));
  sigma_core core = {};
  core.size = r;
  core.pattern = &pattern;
  core.values = values.data();
  core.gate = &gate;
  // The diagonal's gradient, M's values', the bias', and the gate's.
  const auto start = started_from<V>(2 * r + columns + 1, fresh, 57);
  const std::string what = std::string("layer_gradients, ") + kName<T> + ", " + std::to_string(r) + " rows, " +
                           std::to_string(tokens) + " tokens, " + std::to_string(columns) + " columns" +
                           (wanted.diagonal ? ", diagonal" : "") + (wanted.values ? ", values" : "") +
                           (wanted.gate ? ", gate" : "") + (wanted.bias ? ", bias" : "") + kNames[masking] +
                           (fresh ? ", fresh" : "");
  const auto got = repeatable(what, [&] {
    sigma_context context(0);
    std::vector<V> gradients = start;
    std::vector<V> samples(static_cast<size_t>(r));
    V* const dvalues = gradients.data() + r;
    V* const dbias = dvalues + r;
    sigma_layer_gradients call = {};
    if (wanted.values || wanted.gate) {
      call.samples = {kReal<T>, &pattern, a.view(), b.view(), samples.data()};
      call.core = {
          kReal<T>, &core, samples.data(), wanted.values ? dvalues : nullptr, wanted.gate ? dbias + columns : nullptr,
          fresh,    fresh};
    }
    if (wanted.diagonal) {
      call.diagonal = {kReal<T>,
                       a.view(),
                       b.view(),
                       masking == kAll ? nullptr : mask.data(),
                       masking == kShifted ? offset.data() : nullptr,
                       gradients.data(),
                       fresh};
    }
    if (wanted.bias) call.bias = {kReal<T>, dy.view(), dbias, fresh};
    sigma::cuda::layer_gradients(context, call);
    return gradients;
  });
  std::vector<Sum> want = fresh ? std::vector<Sum>(start.size()) : started(start);
  const auto at = [](int64_t i) { return static_cast<size_t>(i); };
  for (int64_t i = 0; i < r; ++i) {
    const V shifted = masking == kShifted ? mask[at(i)] + offset[at(i)] : mask[at(i)];
    for (int64_t t = 0; t < tokens; ++t) {
      const double product = a(i, t) * b(i, t);
      if (wanted.diagonal && (masking == kAll || shifted > 0)) want[at(i)].add(product);
      if (wanted.values) want[at(r + i)].add(g * product);
      if (wanted.gate) want.back().add(g * (1 - g) * number(values[at(i)]) * product);
    }
  }
  for (int64_t t = 0; t < tokens && wanted.bias; ++t) {
    for (int64_t j = 0; j < columns; ++j) want[at(2 * r + j)].add(dy(t, j));
  }
  // What is not wanted keeps its bits.
  const auto expect_part = [&](bool is_wanted, int64_t first, int64_t count) {
    const auto begin = got.begin() + first;
    if (is_wanted) {
      expect_sums<T>(what, {begin, begin + count}, {want.begin() + first, want.begin() + first + count});
    } else {
      expect(std::memcmp(&*begin, &start[at(first)], at(count) * sizeof(V)) == 0, what + ": writes what is not wanted");
    }
  };
  expect_part(wanted.diagonal, 0, r);
  expect_part(wanted.values, r, r);
  expect_part(wanted.bias, 2 * r, columns);
  expect_part(wanted.gate, 2 * r + columns, 1);
}

template <class T>
void layer_gradients_of() {
  constexpr Wanted kAllOfThem{true, true, true, true};
  for (const bool fresh : {false, true}) {
    for (const int64_t tokens : {1, 65, 300, 5000}) {
      for (const int64_t r : {1, 8, 9, 70}) check_layer_gradients<T>(r, tokens, 5, kAllOfThem, kAll, fresh);
    }
    // 4200 tokens are split for rows, and 300 for columns.
    for (int bits = 1; bits < 16; ++bits) {
      const Wanted wanted{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0, (bits & 8) != 0};
      for (const Masking masking : {kAll, kShifted}) {
        check_layer_gradients<T>(17, 4200, 300, wanted, masking, fresh);
        check_layer_gradients<T>(17, 33, 300, wanted, masking, fresh);
      }
    }
  }
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

void layer_gradients() {
  layer_gradients_of<float>();
  layer_gradients_of<double>();
  layer_gradients_of<bfloat16>();
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
