// One batch through many adapters, compared with each adapter alone.
#include "recipes/each.h"

#include <algorithm>
#include <numeric>

#include "harness.h"

namespace check {
namespace {

// The terms of one adapter, and what its pull-back adds to.
template <class T>
struct Adapter {
  Adapter(int64_t rank, int64_t out, const Pattern& pattern, bool is_dense, bool rectified, unsigned seed)
      : diagonal(random_numbers<T>(rank, seed)),
        values(random_numbers<T>(is_dense ? rank * rank : pattern.view.entries, seed + 1)),
        bias(random_numbers<T>(out, seed + 2)), gate(static_cast<T>(0.2)), ddiagonal(diagonal.size()),
        dvalues(values.size()), dbias(bias.size()), dgate(1) {
    layer.real = real_of<T>;
    if (is_dense) {
      layer.core.size = rank;
      layer.dense = values.data();
    } else {
      layer.core = sparse_core(pattern, values, diagonal.data(), &gate);
      layer.core.rectified = rectified ? 1 : 0;
    }
    layer.bias = bias.data();
  }

  sigma::AdapterGradients gradients() {
    if (layer.dense != nullptr) return {nullptr, dvalues.data(), nullptr, dbias.data()};
    return {ddiagonal.data(), dvalues.data(), dgate.data(), dbias.data()};
  }
  std::vector<std::vector<T>> added() const { return {ddiagonal, dvalues, dgate, dbias}; }

  std::vector<T> diagonal, values, bias;
  T gate;
  sigma::AdapterLayer layer = {};
  std::vector<T> ddiagonal, dvalues, dbias, dgate;
};

// Rows of a matrix, in this order.
template <class T>
std::vector<T> rows_of(const std::vector<T>& matrix, int64_t columns, const std::vector<int32_t>& rows) {
  std::vector<T> result;
  for (const int32_t row : rows) {
    const auto begin = matrix.begin() + row * columns;
    result.insert(result.end(), begin, begin + columns);
  }
  return result;
}

template <class T>
void compare(const std::vector<T>& got, const std::vector<T>& want, const char* what) {
  expect_close(got, std::vector<double>(want.begin(), want.end()), what);
}

// The order of the rows as a pattern with one entry in each row.
struct Permutation : Pattern {
  explicit Permutation(const std::vector<int32_t>& order) : Pattern(1, 0, 1) {
    const auto size = static_cast<int32_t>(order.size());
    rows.resize(order.size() + 1);
    std::iota(rows.begin(), rows.end(), 0);
    transposed_rows = rows;
    columns = order;
    transposed_columns.resize(order.size());
    for (int32_t row = 0; row < size; ++row) {
      transposed_columns[static_cast<size_t>(order[static_cast<size_t>(row)])] = row;
    }
    slots = transposed_columns;
    view = {size, size, rows.data(), columns.data(), transposed_rows.data(), transposed_columns.data(), slots.data(), 0,
            0,    0};
  }
};

template <class T>
void batch(int64_t out, int64_t in, bool transposed, bool sorted, int64_t rows_each) {
  const sigma_backend* const backend = sigma_cpu_backend();
  sigma_context* context = nullptr;
  backend->create_context(0, &context);
  const sigma::Engine engine{backend, context};

  // Two sets of factors: all vectors without a base, and a few with one.
  const int64_t whole = std::min(out, in), thin = std::max<int64_t>(1, whole / 2);
  const Pattern band = Pattern::band(whole, 1, 2), scattered(whole, 2 * whole, 3), few(thin, thin, 4);
  const auto base = random_numbers<T>(out * in, 1);
  const auto u = random_numbers<T>(out * in, 2), vt = random_numbers<T>(out * in, 3);
  const int64_t stored_rows = transposed ? in : out, stored_columns = transposed ? out : in;

  std::vector<Adapter<T>> adapters;
  adapters.reserve(20);
  std::vector<sigma::EachSlice> slices;
  int64_t tokens = 0;
  for (unsigned i = 0; i < 20; ++i) {
    const bool with_base = i >= 8;
    const int64_t rank = with_base ? thin : whole;
    const Pattern& pattern = with_base ? few : i % 2 == 0 ? band : scattered;
    adapters.emplace_back(rank, out, pattern, /* is_dense = */ i % 5 == 4, /* rectified = */ i == 1, 10 * i);
    sigma::AdapterLayer& layer = adapters.back().layer;
    layer.transposed = transposed;
    if (with_base) layer.base = view(base, stored_rows, stored_columns);
    layer.u = view(u, stored_rows, rank);
    layer.vt = view(vt, rank, stored_columns);
    if (i == 19) layer.dense = nullptr;  // the base alone
    if (i == 7) layer.bias = nullptr;
    const int64_t count = i % 3 == 0 ? 1 : rows_each;
    slices.push_back({layer, tokens, count});
    tokens += count;
  }

  std::vector<int32_t> order(static_cast<size_t>(tokens));
  std::iota(order.begin(), order.end(), 0);
  if (!sorted) std::shuffle(order.begin(), order.end(), std::mt19937(7));
  const Permutation permutation(order);
  const std::vector<T> ones(order.size(), 1);
  const auto x = random_numbers<T>(tokens * in, 5), dy = random_numbers<T>(tokens * out, 6);
  std::vector<T> y(static_cast<size_t>(tokens * out)), dx(static_cast<size_t>(tokens * in));

  sigma::EachBatch all{slices, tokens, sorted ? nullptr : &permutation.view, ones.data()};
  for (size_t i = 0; i < adapters.size(); ++i) {
    all.slices[i].gradients =
        i == 19 ? sigma::AdapterGradients{.bias = adapters[i].dbias.data()} : adapters[i].gradients();
  }
  std::vector<T> saved(static_cast<size_t>(sigma::each_saved_length(all)));
  sigma::each_forward(engine, all, view(x, tokens, in), view(y, tokens, out), nullptr);
  const std::vector<T> first = y;
  sigma::each_forward(engine, all, view(x, tokens, in), view(y, tokens, out), saved.data());
  expect(first == y, "each_forward: the same bits with and without saved");
  const sigma_matrix dx_view = view(dx, tokens, in);
  sigma::each_backward(engine, all, saved.data(), view(dy, tokens, out), &dx_view);

  for (size_t i = 0; i < adapters.size(); ++i) {
    const sigma::EachSlice& slice = all.slices[i];
    const std::vector<int32_t> rows(order.begin() + slice.first, order.begin() + slice.first + slice.count);
    const auto own_x = rows_of(x, in, rows), own_dy = rows_of(dy, out, rows);
    std::vector<T> own_y(static_cast<size_t>(slice.count * out)), own_dx(static_cast<size_t>(slice.count * in));
    Adapter<T> alone = adapters[i];
    const auto got = alone.added();
    for (std::vector<T>* sum : {&alone.ddiagonal, &alone.dvalues, &alone.dgate, &alone.dbias}) {
      std::fill(sum->begin(), sum->end(), T{0});
    }
    sigma::adapter_forward(engine, slice.layer, view(own_x, slice.count, in), view(own_y, slice.count, out), nullptr);
    const sigma::AdapterGradients wanted =
        i == 19 ? sigma::AdapterGradients{.bias = alone.dbias.data()} : alone.gradients();
    sigma::adapter_backward(engine, slice.layer, {.x = own_x.data()}, view(own_dy, slice.count, out), own_dx.data(),
                            wanted);
    compare(rows_of(y, out, rows), own_y, "each_forward");
    compare(rows_of(dx, in, rows), own_dx, "each_backward: dx");
    const auto want = alone.added();
    for (size_t k = 0; k < want.size(); ++k) compare(got[k], want[k], "each_backward: gradients");
  }

  // Without dx, and without gradients.
  for (sigma::EachSlice& slice : all.slices) slice.gradients = {};
  sigma::each_backward(engine, all, nullptr, view(dy, tokens, out), nullptr);
  backend->destroy_context(context);
}

}  // namespace

void each() {
  for (const bool transposed : {false, true}) {
    for (const bool sorted : {false, true}) {
      for (const int64_t rows : {2, 13}) {
        batch<float>(9, 7, transposed, sorted, rows);
        batch<double>(24, 30, transposed, sorted, rows);
      }
      batch<double>(1, 1, transposed, sorted, 1);
    }
  }
}

}  // namespace check
