// The recipes: every path through the operator, compared with dense float64 products.
#include <array>
#include <tuple>

#include "harness.h"
#include "recipes/adapter.h"

namespace check {
namespace {

double largest(const std::vector<double>& numbers) {
  double most = 1;
  for (const double number : numbers) most = std::max(most, std::abs(number));
  return most;
}

// The matrix (rows, columns), or its transpose.
template <class T>
std::vector<T> stored(const std::vector<T>& matrix, int64_t rows, int64_t columns, bool transposed) {
  if (!transposed) return matrix;
  std::vector<T> result(matrix.size());
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j)
      result[static_cast<size_t>(j * rows + i)] = matrix[static_cast<size_t>(i * columns + j)];
  }
  return result;
}

template <class T>
void adapter(int64_t out, int64_t in, int64_t rank, int64_t tokens, bool with_base, bool is_dense, bool transposed) {
  const sigma_backend* const backend = sigma_cpu_backend();
  sigma_context* context = nullptr;
  backend->create_context(0, &context);
  const sigma::Engine engine{backend, context};

  const Pattern pattern(rank, 3 * rank, 20);
  const int64_t entries = is_dense ? rank * rank : 3 * rank;
  const auto base = random_numbers<T>(out * in, 21), u = random_numbers<T>(out * rank, 22);
  const auto vt = random_numbers<T>(rank * in, 23), diagonal = random_numbers<T>(rank, 24);
  const auto values = random_numbers<T>(entries, 25), bias = random_numbers<T>(out, 26);
  const auto x = random_numbers<T>(tokens * in, 27), dy = random_numbers<T>(tokens * out, 28);
  const T gate = static_cast<T>(-0.4);
  sigma::AdapterLayer layer = {};
  layer.real = real_of<T>;
  layer.transposed = transposed;
  const int64_t rows = transposed ? in : out, columns = transposed ? out : in;
  const auto stored_base = stored(base, out, in, transposed);
  const auto stored_u = transposed ? stored(vt, rank, in, true) : u;
  const auto stored_vt = transposed ? stored(u, out, rank, true) : vt;
  if (with_base) layer.base = view(stored_base, rows, columns);
  layer.u = view(stored_u, rows, rank);
  layer.vt = view(stored_vt, rank, columns);
  if (is_dense) {
    layer.core.size = rank;
    layer.dense = values.data();
  } else {
    layer.core = sparse_core(pattern, values, diagonal.data(), &gate);
  }
  layer.bias = bias.data();

  // A dense core sums many more terms, some of which cancel: compare with the largest number.
  const auto size_of = [&](const std::vector<double>& numbers) { return is_dense ? largest(numbers) : 1; };
  const std::vector<double> u64(u.begin(), u.end()), vt64(vt.begin(), vt.end()), x64(x.begin(), x.end());
  const std::vector<double> dy64(dy.begin(), dy.end());
  const auto c = is_dense ? std::vector<double>(values.begin(), values.end())
                          : dense_core(pattern, values, diagonal.data(), 1 / (1 + std::exp(0.4)));
  auto merged64 = product(product(u64, false, c, false, out, rank, rank), false, vt64, false, out, in, rank);
  if (with_base) {
    for (size_t i = 0; i < merged64.size(); ++i) merged64[i] += static_cast<double>(base[i]);
  }
  auto y64 = product(x64, false, merged64, true, tokens, out, in);
  for (size_t i = 0; i < y64.size(); ++i) y64[i] += static_cast<double>(bias[i % static_cast<size_t>(out)]);

  std::vector<T> y(static_cast<size_t>(tokens * out)), merged(static_cast<size_t>(out * in));
  std::vector<T> saved(static_cast<size_t>(sigma::adapter_saved_length(rank, tokens)));
  const sigma_matrix x_view = view(x, tokens, in), y_view = view(y, tokens, out), dy_view = view(dy, tokens, out);
  const sigma_matrix merged_view = view(merged, rows, columns);
  sigma::adapter_forward(engine, layer, x_view, y_view, nullptr);
  expect_close(y, y64, "adapter_forward without saved", size_of(y64));
  sigma::adapter_forward(engine, layer, x_view, y_view, saved.data());
  expect_close(y, y64, "adapter_forward", size_of(y64));
  sigma::adapter_merge(engine, layer, merged_view);
  expect_close(stored(merged, rows, columns, transposed), merged64, "adapter_merge", size_of(merged64));

  const auto dx64 = product(dy64, false, merged64, false, tokens, in, out);
  const auto g = product(dy64, true, x64, false, out, in, tokens);
  const auto k = product(product(u64, true, g, false, rank, in, out), false, vt64, true, rank, rank, in);
  std::vector<double> ddiagonal64;
  for (int64_t i = 0; i < rank; ++i) ddiagonal64.push_back(k[static_cast<size_t>(i * rank + i)]);
  enum class Way { from_saved, from_input, through_merged };
  for (const Way way : {Way::from_saved, Way::from_input, Way::through_merged}) {
    std::vector<T> dx(static_cast<size_t>(tokens * in)), ddiagonal(static_cast<size_t>(rank));
    std::vector<T> dvalues(static_cast<size_t>(entries)), dgate(1), dbias(static_cast<size_t>(out));
    sigma::AdapterGradients gradients{ddiagonal.data(), dvalues.data(), dgate.data(), dbias.data()};
    if (is_dense) gradients.diagonal = gradients.gate = nullptr;
    if (way == Way::through_merged) {
      std::vector<T> gathered(static_cast<size_t>(out * in));
      sigma::weight_backward(engine, {.weight = merged_view,
                                      .transposed = transposed,
                                      .dy = dy_view,
                                      .x = x.data(),
                                      .dx = dx.data(),
                                      .dbias = dbias.data(),
                                      .g = gathered.data(),
                                      .accumulate = false});
      sigma::adapter_project(engine, layer, view(gathered, rows, columns), gradients);
    } else {
      const bool recompute = way == Way::from_input;
      const sigma::AdapterSaved from{recompute ? nullptr : saved.data(), recompute ? x.data() : nullptr};
      sigma::adapter_backward(engine, layer, from, dy_view, dx.data(), gradients);
    }
    expect_close(dx, dx64, way == Way::through_merged ? "merged dx" : "dx", size_of(dx64));
    if (is_dense) {
      expect_close(dvalues, k, way == Way::through_merged ? "merged gradient of a dense core" : "dense core",
                   size_of(k));
    } else {
      expect_close(ddiagonal, ddiagonal64, way == Way::through_merged ? "merged ddiagonal" : "ddiagonal");
    }
  }
  backend->destroy_context(context);
}

// Numbers rounded to a type of 16 bits, and the same numbers in float32.
struct Half {
  std::vector<uint16_t> bits;
  std::vector<float> numbers;

  Half(const sigma::Engine& engine, sigma_dtype dtype, const std::vector<float>& from)
      : bits(from.size()), numbers(from.size()) {
    const auto count = static_cast<int64_t>(from.size());
    const sigma_matrix given = view(from, 1, count), wide = view(numbers, 1, count);
    const sigma_matrix narrow = sigma::dense_matrix(dtype, bits.data(), 1, count);
    engine.run(&sigma_backend::cast, sigma_cast{given, narrow});
    engine.run(&sigma_backend::cast, sigma_cast{narrow, wide});
  }
};

// Through W' in 16 bits: the sum over two batches and its projection round nothing to 16 bits.
void merged_half(sigma_dtype dtype, int64_t out, int64_t in, int64_t rank, int64_t tokens, bool transposed) {
  const sigma_backend* const backend = sigma_cpu_backend();
  sigma_context* context = nullptr;
  backend->create_context(0, &context);
  const sigma::Engine engine{backend, context};
  const auto half = [&](int64_t count, unsigned seed) {
    return Half(engine, dtype, random_numbers<float>(count, seed));
  };
  const auto matrix = [&](const Half& of, int64_t rows, int64_t columns) {
    return sigma::dense_matrix(dtype, of.bits.data(), rows, columns);
  };

  const int64_t rows = transposed ? in : out, columns = transposed ? out : in;
  const Pattern pattern(rank, 3 * rank, 20);
  const auto values = random_numbers<float>(3 * rank, 25), diagonal = random_numbers<float>(rank, 24);
  const Half u = half(rows * rank, 22), vt = half(rank * columns, 23), merged = half(rows * columns, 21);
  const Half x = half(tokens * in, 27), dy = half(tokens * out, 28);
  sigma::AdapterLayer layer = {};
  layer.real = SIGMA_REAL32;
  layer.transposed = transposed;
  layer.u = matrix(u, rows, rank);
  layer.vt = matrix(vt, rank, columns);
  layer.core = sparse_core<float>(pattern, values, diagonal.data(), nullptr);

  std::vector<float> g(static_cast<size_t>(rows * columns));
  for (const bool accumulate : {false, true}) {
    sigma::weight_backward(engine, {.weight = matrix(merged, rows, columns),
                                    .transposed = transposed,
                                    .dy = matrix(dy, tokens, out),
                                    .x = x.bits.data(),
                                    .dx = nullptr,
                                    .dbias = nullptr,
                                    .g = g.data(),
                                    .accumulate = accumulate});
  }
  const auto& [left, right] = transposed ? std::tie(x, dy) : std::tie(dy, x);
  auto g64 = product(left.numbers, true, right.numbers, false, rows, columns, tokens);
  for (double& entry : g64) entry *= 2;
  expect_close(g, g64, "the gradient of W' in 16 bits", largest(g64));

  std::vector<float> ddiagonal(static_cast<size_t>(rank)), dvalues(static_cast<size_t>(3 * rank));
  const sigma::AdapterGradients gradients{ddiagonal.data(), dvalues.data(), nullptr, nullptr};
  sigma::adapter_project(engine, layer, view(g, rows, columns), gradients);
  const std::vector<double> u64(u.numbers.begin(), u.numbers.end()), vt64(vt.numbers.begin(), vt.numbers.end());
  auto k = product(product(u64, true, g64, false, rank, columns, rows), false, vt64, true, rank, rank, columns);
  if (transposed) k = stored(k, rank, rank, true);
  std::vector<double> ddiagonal64, dvalues64;
  for (int64_t i = 0; i < rank; ++i) {
    ddiagonal64.push_back(k[static_cast<size_t>(i * rank + i)]);
    for (int32_t p = pattern.rows[static_cast<size_t>(i)]; p < pattern.rows[static_cast<size_t>(i) + 1]; ++p)
      dvalues64.push_back(k[static_cast<size_t>(i * rank + pattern.columns[static_cast<size_t>(p)])]);
  }
  expect_close(ddiagonal, ddiagonal64, "ddiagonal through W' in 16 bits", largest(k));
  expect_close(dvalues, dvalues64, "dvalues through W' in 16 bits", largest(k));
  backend->destroy_context(context);
}

}  // namespace

void adapters() {
  for (const sigma_dtype dtype : {SIGMA_BFLOAT16, SIGMA_FLOAT16}) {
    for (const bool transposed : {false, true}) {
      // The last two have more rows than are widened at a time.
      for (const auto& [out, in, rank, tokens] :
           std::vector<std::array<int64_t, 4>>{{1, 1, 1, 1}, {9, 7, 7, 5}, {600, 33, 33, 20}, {33, 600, 33, 20}}) {
        merged_half(dtype, out, in, rank, tokens, transposed);
      }
    }
  }
  for (const auto& [out, in, rank, tokens] :
       std::vector<std::array<int64_t, 4>>{{1, 1, 1, 1}, {9, 7, 7, 5}, {64, 130, 50, 300}}) {
    for (const bool with_base : {false, true}) {
      for (const bool is_dense : {false, true}) {
        for (const bool transposed : {false, true}) {
          adapter<float>(out, in, rank, tokens, with_base, is_dense, transposed);
          adapter<double>(out, in, rank, tokens, with_base, is_dense, transposed);
        }
      }
    }
  }
}

}  // namespace check
