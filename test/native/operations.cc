// Every operation of the backend's table, at odd sizes and at size 1.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>

#include "harness.h"

namespace check {
namespace {

const sigma_backend& backend() { return *sigma_cpu_backend(); }

template <class T>
void gemm(sigma_context* context) {
  for (const auto& [m, n, k] :
       std::vector<std::array<int64_t, 3>>{{1, 1, 1}, {3, 5, 7}, {300, 65, 40}, {33, 530, 61}}) {
    const auto a = random_numbers<T>(m * k, 1);
    const auto b = random_numbers<T>(k * n, 2);
    const auto bias = random_numbers<T>(n, 3);
    const auto start = random_numbers<T>(m * n, 4);
    for (int variant = 0; variant < 16; ++variant) {
      const bool ta = variant & 1, tb = variant & 2, accumulate = variant & 4, with_bias = variant & 8;
      auto want = product(a, ta, b, tb, m, n, k);
      for (size_t i = 0; i < want.size(); ++i) {
        if (accumulate) want[i] += static_cast<double>(start[i]);
        if (with_bias) want[i] += static_cast<double>(bias[i % static_cast<size_t>(n)]);
      }
      auto c = start;
      if (!accumulate) std::fill(c.begin(), c.end(), std::numeric_limits<T>::quiet_NaN());
      const sigma_matrix left = ta ? view(a, k, m) : view(a, m, k);
      const sigma_matrix right = tb ? view(b, n, k) : view(b, k, n);
      const sigma_matrix out = view(c, m, n);
      const sigma_gemm call{real_of<T>, ta, tb, accumulate, left, right, out, with_bias ? bias.data() : nullptr};
      expect(run(context, backend().gemm, call) == SIGMA_OK, "gemm's status");
      expect_close(c, want, "gemm");
    }
  }
}

// The nearest bfloat16 to each number, which becomes that bfloat16.
std::vector<uint16_t> narrowed(std::vector<float>& numbers) {
  std::vector<uint16_t> narrow(numbers.size());
  const auto row = [&](sigma_dtype dtype, const void* data) {
    return sigma::dense_matrix(dtype, data, 1, static_cast<int64_t>(numbers.size()));
  };
  const sigma_matrix wide = row(SIGMA_FLOAT32, numbers.data()), half = row(SIGMA_BFLOAT16, narrow.data());
  expect(run(nullptr, backend().cast, {wide, half}) == SIGMA_OK, "cast to bfloat16");
  expect(run(nullptr, backend().cast, {half, wide}) == SIGMA_OK, "cast from bfloat16");
  return narrow;
}

// Sizes that no panel divides, one that takes several packed blocks of k, and one that is split into tiles.
void narrow_gemm(sigma_context* context) {
  for (const auto& [m, n, k] : std::vector<std::array<int64_t, 3>>{
           {1, 1, 1}, {3, 5, 7}, {15, 33, 1}, {1, 70, 40}, {30, 35, 2100}, {300, 270, 40}}) {
    for (int variant = 0; variant < 16; ++variant) {
      const bool ta = variant & 1, tb = variant & 2, accumulate = variant & 4, with_bias = variant & 8;
      auto a = random_numbers<float>(m * k, 1), b = random_numbers<float>(k * n, 2),
           c = random_numbers<float>(m * n, 4);
      const auto bias = random_numbers<float>(n, 3);
      const auto half_a = narrowed(a), half_b = narrowed(b);
      auto half_c = narrowed(c);
      auto want = product(a, ta, b, tb, m, n, k);
      for (size_t i = 0; i < want.size(); ++i) {
        if (accumulate) want[i] += static_cast<double>(c[i]);
        if (with_bias) want[i] += static_cast<double>(bias[i % static_cast<size_t>(n)]);
      }
      if (!accumulate) std::fill(half_c.begin(), half_c.end(), uint16_t{0x7fc0});
      const auto half = [](const std::vector<uint16_t>& data, int64_t rows, int64_t columns) {
        return sigma::dense_matrix(SIGMA_BFLOAT16, data.data(), rows, columns);
      };
      const sigma_gemm call{SIGMA_REAL32,
                            ta,
                            tb,
                            accumulate,
                            ta ? half(half_a, k, m) : half(half_a, m, k),
                            tb ? half(half_b, n, k) : half(half_b, k, n),
                            half(half_c, m, n),
                            with_bias ? bias.data() : nullptr};
      expect(run(context, backend().gemm, call) == SIGMA_OK, "gemm's status in bfloat16");
      expect(run(nullptr, backend().cast,
                 {half(half_c, 1, m * n), sigma::dense_matrix(SIGMA_FLOAT32, c.data(), 1, m * n)}) == SIGMA_OK,
             "cast of the product");
      for (size_t i = 0; i < want.size(); ++i) {
        const double off = std::abs(static_cast<double>(c[i]) - want[i]);
        expect(off <= std::abs(want[i]) / 256 + 1e-4 * std::sqrt(static_cast<double>(k)), "gemm in bfloat16");
      }
    }
  }
}

template <class T>
void sparse(sigma_context* context) {
  struct Case {
    Pattern pattern;
    int64_t tokens;
  };
  std::vector<Case> cases;
  for (const auto& [r, entries, tokens] :
       std::vector<std::array<int64_t, 3>>{{1, 1, 1}, {7, 20, 3}, {150, 900, 300}, {40, 5, 64}}) {
    cases.push_back({Pattern(r, entries, 5), tokens});
  }
  for (const auto& [r, lower, upper, tokens] :
       std::vector<std::array<int64_t, 4>>{{1, 0, 0, 70}, {7, 2, 2, 3}, {151, 8, 3, 333}, {40, 0, 40, 64}}) {
    cases.push_back({Pattern::band(r, lower, upper), tokens});
  }
  for (const auto& [pattern, tokens] : cases) {
    const int64_t r = pattern.view.size;
    const int64_t entries = pattern.view.entries;
    const auto values = random_numbers<T>(entries, 6);
    const auto diagonal = random_numbers<T>(r, 7);
    const auto x = random_numbers<T>(r * tokens, 8);
    const auto y = random_numbers<T>(r * tokens, 9);
    const T gate = static_cast<T>(0.3);
    const double g = 1 / (1 + std::exp(-static_cast<double>(gate)));
    const sigma_core core = sparse_core(pattern, values, diagonal.data(), &gate);
    const auto c = dense_core(pattern, values, diagonal.data(), g);
    const std::vector<double> dense(x.begin(), x.end());
    const sigma_matrix in = view(x, r, tokens), other = view(y, r, tokens);

    for (const bool transpose : {false, true}) {
      std::vector<T> out(static_cast<size_t>(r * tokens), std::numeric_limits<T>::quiet_NaN());
      const sigma_matrix target = view(out, r, tokens);
      const sigma_spmm call{real_of<T>, transpose, &core, in, target};
      expect(run(context, backend().spmm, call) == SIGMA_OK, "spmm's status");
      expect_close(out, product(c, transpose, dense, false, r, tokens, r), "spmm");
    }

    const std::vector<double> left(y.begin(), y.end());
    const auto k = product(left, false, dense, true, r, r, tokens);
    std::vector<double> want, want_rows, sums(static_cast<size_t>(tokens));
    double dgate = 1;
    for (int64_t i = 0; i < r; ++i) {
      want_rows.push_back(2 + k[static_cast<size_t>(i * r + i)]);
      for (int32_t p = pattern.rows[static_cast<size_t>(i)]; p < pattern.rows[static_cast<size_t>(i) + 1]; ++p) {
        want.push_back(k[static_cast<size_t>(i * r + pattern.columns[static_cast<size_t>(p)])]);
        dgate += g * (1 - g) * static_cast<double>(values[static_cast<size_t>(p)]) * want.back();
      }
      for (int64_t t = 0; t < tokens; ++t) sums[static_cast<size_t>(t)] += dense[static_cast<size_t>(i * tokens + t)];
    }
    std::vector<T> samples(static_cast<size_t>(entries)), dvalues(static_cast<size_t>(entries), T{0});
    std::vector<T> gate_sum{T{1}}, rows(static_cast<size_t>(r), T{2}), columns(static_cast<size_t>(tokens), T{0});
    const sigma_sddmm sampling{real_of<T>, &pattern.view, other, in, samples.data()};
    expect(run(context, backend().sddmm, sampling) == SIGMA_OK, "sddmm's status");
    expect_close(samples, want, "sddmm");
    run(context, backend().core_gradient, {real_of<T>, &core, samples.data(), dvalues.data(), gate_sum.data(), 0, 0});
    for (double& number : want) number *= g;
    expect_close(dvalues, want, "core_gradient: values");
    expect_close(gate_sum, {dgate}, "core_gradient: gate");
    run(context, backend().row_dots, {real_of<T>, other, in, nullptr, nullptr, rows.data(), 0});
    expect_close(rows, want_rows, "row_dots adds");
    const auto mask = random_numbers<T>(r, 10), offset = random_numbers<T>(r, 11);
    for (size_t i = 0; i < rows.size(); ++i) {
      if (mask[i] + offset[i] > 0) want_rows[i] += want_rows[i] - 2;
    }
    run(context, backend().row_dots, {real_of<T>, other, in, mask.data(), offset.data(), rows.data(), 0});
    expect_close(rows, want_rows, "row_dots adds to rows of mask + offset > 0 only");
    run(context, backend().column_sums, {real_of<T>, in, columns.data(), 0});
    expect_close(columns, sums, "column_sums");
    // What is fresh counts as zeros, whatever it contains.
    const T nan = std::numeric_limits<T>::quiet_NaN();
    std::fill(columns.begin(), columns.end(), nan);
    std::fill(dvalues.begin(), dvalues.end(), nan);
    gate_sum[0] = nan;
    run(context, backend().column_sums, {real_of<T>, in, columns.data(), 1});
    expect_close(columns, sums, "column_sums, fresh");
    run(context, backend().core_gradient, {real_of<T>, &core, samples.data(), dvalues.data(), gate_sum.data(), 1, 1});
    expect_close(dvalues, want, "core_gradient: fresh values");
    expect_close(gate_sum, {dgate - 1}, "core_gradient: a fresh gate");
    std::fill(rows.begin(), rows.end(), nan);
    for (size_t i = 0; i < rows.size(); ++i) {
      want_rows[i] = mask[i] + offset[i] > 0 ? k[i * static_cast<size_t>(r) + i] : 0;
    }
    run(context, backend().row_dots, {real_of<T>, other, in, mask.data(), offset.data(), rows.data(), 1});
    expect_close(rows, want_rows, "row_dots, fresh, with a mask");
  }
}

template <class T>
void optimisers(sigma_context* context) {
  for (const int64_t count : {1, 37, 70000}) {
    auto parameter = random_numbers<T>(count, 10);
    const auto gradient = random_numbers<T>(count, 11);
    std::vector<T> m(static_cast<size_t>(count)), v(static_cast<size_t>(count));
    std::vector<double> want(parameter.begin(), parameter.end());
    run(context, backend().adamw,
        {.real = real_of<T>,
         .lr = 0.1,
         .beta1 = 0.9,
         .beta2 = 0.99,
         .eps = 1e-8,
         .weight_decay = 0.1,
         .step = 1,
         .count = count,
         .parameter = parameter.data(),
         .gradient = gradient.data(),
         .m = m.data(),
         .v = v.data()});
    for (size_t i = 0; i < want.size(); ++i) {
      const auto g = static_cast<double>(gradient[i]);
      want[i] = want[i] * (1 - 0.01) - 0.1 * g / (std::abs(g) + 1e-8);
    }
    expect_close(parameter, want, "adamw: the first step is lr times the sign of the gradient");

    for (size_t i = 0; i < want.size(); ++i)
      want[i] = static_cast<double>(parameter[i]) - 0.5 * static_cast<double>(gradient[i]);
    run(context, backend().sgd,
        {.real = real_of<T>,
         .lr = 0.5,
         .momentum = 0,
         .weight_decay = 0,
         .first = 1,
         .count = count,
         .parameter = parameter.data(),
         .gradient = gradient.data(),
         .momentum_buffer = nullptr});
    expect_close(parameter, want, "sgd");
  }
}

template <class T>
void svd() {
  for (const auto& [rows, columns] :
       std::vector<std::array<int64_t, 2>>{{1, 1}, {1, 9}, {9, 1}, {20, 12}, {12, 20}, {33, 33}}) {
    for (const auto driver : {SIGMA_SVD_AUTO, SIGMA_SVD_GESDD, SIGMA_SVD_GESVD}) {
      const int64_t r = std::min(rows, columns);
      const auto a = random_numbers<T>(rows * columns, 12);
      std::vector<T> u(static_cast<size_t>(rows * r)), s(static_cast<size_t>(r)), vt(static_cast<size_t>(r * columns));
      const sigma_svd_problem problem{a.data(), u.data(), s.data(), vt.data(), rows, columns, r};
      int64_t failed = -1;
      expect(run(nullptr, backend().svd, {real_of<T>, driver, &problem, 1, &failed}) == SIGMA_OK, "svd's status");
      auto scaled = u;
      for (size_t i = 0; i < scaled.size(); ++i) scaled[i] *= s[i % static_cast<size_t>(r)];
      expect_close(a, product(scaled, false, vt, false, rows, columns, r), "svd: A = U diag(s) Vt");
    }
  }
  const std::vector<T> bad{T{1}, std::numeric_limits<T>::infinity()};
  std::vector<T> u(1), s(1), vt(2);
  const sigma_svd_problem problem{bad.data(), u.data(), s.data(), vt.data(), 1, 2, 1};
  int64_t failed = -1;
  const auto status = [&](sigma_svd_driver driver) {
    return run(nullptr, backend().svd, {real_of<T>, driver, &problem, 1, &failed});
  };
  expect(status(SIGMA_SVD_AUTO) == SIGMA_NON_FINITE && failed == 0, "svd rejects Infinity");
  expect(status(SIGMA_SVD_GRAM64) == SIGMA_UNSUPPORTED, "svd rejects a driver that the CPU lacks");
}

// Unsupported types are rejected, and `supports` agrees.
void types(sigma_context* context) {
  const std::vector<float> numbers(4);
  std::vector<float> scales(1);
  const auto matrix = [&](sigma_dtype dtype) {
    sigma_matrix made = sigma::dense_matrix(dtype, numbers.data(), 1, 1);
    if (dtype == SIGMA_INT8) made.scales = scales.data();
    return made;
  };
  // With a result in float32.
  const auto goes = [](sigma_dtype a, sigma_dtype b) {
    const auto fits = [](sigma_dtype dtype) { return dtype == SIGMA_FLOAT32 || dtype == SIGMA_INT8; };
    return (fits(a) && fits(b)) || (a == b && sigma::is_half(a));
  };
  constexpr std::array kAll = {SIGMA_FLOAT32, SIGMA_FLOAT64, SIGMA_BFLOAT16, SIGMA_INT8, SIGMA_FLOAT16};
  for (const sigma_dtype a : kAll) {
    for (const sigma_dtype b : kAll) {
      const std::array dtypes = {a, b, SIGMA_FLOAT32};
      const bool supported = backend().supports(SIGMA_OPERATION_gemm, SIGMA_REAL32, dtypes.data(), 3) != 0;
      const sigma_gemm call{SIGMA_REAL32, 0, 0, 0, matrix(a), matrix(b), matrix(SIGMA_FLOAT32), nullptr};
      const sigma_status status = run(context, backend().gemm, call);
      expect(supported == goes(a, b), "gemm's types");
      expect(status == (supported ? SIGMA_OK : SIGMA_UNSUPPORTED), "gemm rejects unsupported types");
    }
  }
  const std::array both = {SIGMA_INT8, SIGMA_FLOAT32};
  expect(backend().supports(SIGMA_OPERATION_cast, SIGMA_REAL32, both.data(), 2) == 1, "cast's types");
  sigma_matrix bare = matrix(SIGMA_INT8);
  bare.scales = nullptr;
  const sigma_matrix wide = matrix(SIGMA_FLOAT32);
  const sigma_cast widen{bare, wide};
  expect(run(context, backend().cast, widen) == SIGMA_UNSUPPORTED, "cast needs scales");
  const sigma_gemm product{SIGMA_REAL32, 0, 0, 0, bare, wide, wide, nullptr};
  expect(run(context, backend().gemm, product) == SIGMA_UNSUPPORTED, "gemm needs scales");
  expect(backend().supports(SIGMA_OPERATION_adamw, SIGMA_REAL64, nullptr, 0) == 1,
         "supports: an operation on vectors only");
}

template <class T>
void all() {
  sigma_context* context = nullptr;
  expect(backend().create_context(0, &context) == SIGMA_OK, "create_context");
  gemm<T>(context);
  sparse<T>(context);
  optimisers<T>(context);
  svd<T>();
  types(context);
  narrow_gemm(context);
  backend().destroy_context(context);
}

}  // namespace

void operations() {
  all<float>();
  all<double>();
}

}  // namespace check
