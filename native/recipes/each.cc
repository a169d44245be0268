#include "recipes/each.h"

#include <algorithm>
#include <cstddef>
#include <functional>

#include "recipes/parts.h"

namespace sigma {
namespace {

// Consecutive slices that share a product.
struct Run {
  const EachSlice* begin;
  const EachSlice* end;
  const AdapterLayer& layer() const { return begin->layer; }  // the terms that they share are those of the first
  int64_t first() const { return begin->first; }
  int64_t tokens() const { return end[-1].first + end[-1].count - begin->first; }
  bool any(const std::function<bool(const EachSlice&)>& test) const { return std::any_of(begin, end, test); }
};

template <class Same>
std::vector<Run> runs_of(const EachSlice* begin, const EachSlice* end, Same same) {
  std::vector<Run> runs;
  for (const EachSlice* slice = begin; slice != end; ++slice) {
    if (slice != begin && same(runs.back().layer(), slice->layer)) {
      runs.back().end = slice + 1;
    } else {
      runs.push_back({slice, slice + 1});
    }
  }
  return runs;
}

// Whether a layer is more than its base.
bool has_core(const AdapterLayer& layer) {
  return !layer.has_base() || layer.dense != nullptr || layer.core.diagonal != nullptr || layer.core.pattern != nullptr;
}

std::vector<Run> base_runs(const EachBatch& batch) {
  const EachSlice* const slices = batch.slices.data();
  return runs_of(slices, slices + batch.slices.size(), [](const AdapterLayer& a, const AdapterLayer& b) {
    return a.base.data == b.base.data && a.transposed == b.transposed;
  });
}

// Within a run of one base.
std::vector<Run> factor_runs(const Run& run) {
  return runs_of(run.begin, run.end, [](const AdapterLayer& a, const AdapterLayer& b) {
    return a.u.data == b.u.data && a.vt.data == b.vt.data && a.rank() == b.rank() && has_core(a) == has_core(b);
  });
}

int64_t intermediate_length(const Run& run) { return adapter_saved_length(run.layer().rank(), run.tokens()); }

bool wants_core(const EachSlice& slice) { return slice.gradients.wants_core(); }
bool is_dense(const EachSlice& slice) { return slice.layer.dense != nullptr; }

// The columns of a slice in an intermediate of its run.
sigma_matrix slice_columns(const Run& run, const sigma_matrix& matrix, const EachSlice& slice) {
  return columns_of(matrix, slice.first - run.first(), slice.count);
}

// out = C x, or Cᵀ x, each slice of the run by its own C.
void core_products(const Engine& e, const Run& run, bool transpose, const sigma_matrix& x, const sigma_matrix& out,
                   Workspace& workspace) {
  std::vector<sigma_spmm> sparse;
  std::vector<sigma_gemm> dense;
  for (const EachSlice* slice = run.begin; slice != run.end; ++slice) {
    const AdapterLayer& layer = slice->layer;
    const sigma_matrix from = slice_columns(run, x, *slice), to = slice_columns(run, out, *slice);
    if (layer.dense == nullptr) {
      sparse.push_back(sparse_core_product(layer, transpose, from, to));
    } else {
      void* const scratch = workspace.take(narrow_core_length(layer, x.dtype));
      dense.push_back(dense_core_product(e, layer, transpose, from, to, scratch));
    }
  }
  e.run_each(SIGMA_OPERATION_spmm, sparse);
  e.run_each(SIGMA_OPERATION_gemm, dense);
}

int64_t narrow_cores_length(const EachBatch& batch, sigma_dtype dtype) {
  int64_t length = 0;
  for (const EachSlice& slice : batch.slices) length += narrow_core_length(slice.layer, dtype);
  return length;
}

// to = the rows of `from` in the sorted order, or back in the given one. A permutation is a sparse matrix, so this is a
// product with it.
void permute(const Engine& e, const EachBatch& batch, bool back, const sigma_matrix& from, const sigma_matrix& to) {
  sigma_core core = {};
  core.size = batch.tokens;
  core.pattern = batch.order;
  core.values = batch.ones;
  e.run(&sigma_backend::spmm, sigma_spmm{real_of(from.dtype), back, &core, from, to});
}

// Keeps what follows in the workspace aligned.
int64_t whole_lines(int64_t elements) { return (elements + 15) / 16 * 16; }

// A batch's rows: as given if they are sorted, else a copy in the workspace.
struct Rows {
  Rows(const EachBatch& batch, const sigma_matrix& given_, Workspace& workspace) : given(given_), sorted(given_) {
    if (batch.order != nullptr) sorted.data = workspace.take(length(batch, given.columns));
  }
  static int64_t length(const EachBatch& batch, int64_t columns) {
    return batch.order != nullptr ? whole_lines(batch.tokens * columns) : 0;
  }
  void sort(const Engine& e, const EachBatch& batch) const {
    if (batch.order != nullptr) permute(e, batch, false, given, sorted);
  }
  void give_back(const Engine& e, const EachBatch& batch) const {
    if (batch.order != nullptr) permute(e, batch, true, sorted, given);
  }
  sigma_matrix of(const Run& run) const { return rows_of(sorted, run.first(), run.tokens()); }
  sigma_matrix of(const EachSlice& slice) const { return rows_of(sorted, slice.first, slice.count); }

  sigma_matrix given, sorted;
};

// The vector that all slices of a run add; null if they add different ones, or none.
const void* common_bias(const Run& run) {
  const void* const bias = run.layer().bias;
  return run.any([&](const EachSlice& slice) { return slice.layer.bias != bias; }) ? nullptr : bias;
}

// Y += bias on the rows of each slice. A product of zeros has the only operation that adds a vector to each row.
void add_biases(const Engine& e, const Run& run, const Rows& y, void* zeros) {
  const sigma_dtype dtype = y.given.dtype;
  const int64_t out = y.given.columns;
  std::vector<sigma_gemm> calls;
  for (const EachSlice* slice = run.begin; slice != run.end; ++slice) {
    const AdapterLayer& layer = slice->layer;
    if (layer.bias == nullptr) continue;
    calls.push_back({layer.real, kPlain, kPlain, kAccumulate, dense_matrix(dtype, zeros, slice->count, 1),
                     dense_matrix(dtype, zeros, 1, out), y.of(*slice), layer.bias});
  }
  e.run_each(SIGMA_OPERATION_gemm, calls);
}

// A run of one set of factors, with P and dQ of its rows, (r, N).
struct Factored {
  Run run;
  sigma_matrix p, dq;
};

// Samples of K = dQ Pᵀ, then what they add to the gradients.
class CoreGradients {
 public:
  explicit CoreGradients(Workspace& workspace) : workspace_(workspace) {}

  static int64_t length(const Run& run, sigma_dtype dtype) {
    int64_t length = 0;
    for (const EachSlice* slice = run.begin; slice != run.end; ++slice) {
      length += samples_length(slice->layer, slice->gradients);
    }
    return length + (widens(run, dtype) ? 2 * intermediate_length(run) : 0);
  }

  void take(const Engine& e, Factored factored) {
    const Run& run = factored.run;
    sigma_matrix a = factored.dq, b = factored.p;
    if (widens(run, a.dtype)) {
      for (sigma_matrix* each : {&a, &b}) {
        *each = widened(e, run.layer().real, *each, workspace_.take_numbers(each->rows * each->stride));
      }
    }
    for (const EachSlice* slice = run.begin; slice != run.end; ++slice) {
      const auto& [layer, first, count, gradients] = *slice;
      if (gradients.wants_samples()) {
        void* const samples = workspace_.take_numbers(layer.core_values());
        if (is_dense(*slice)) {
          dense_.push_back(dense_samples(layer, slice_columns(run, a, *slice), slice_columns(run, b, *slice), samples));
          added_dense_.push_back(dense_addition(layer, samples, gradients));
        } else {
          const sigma_matrix dq = slice_columns(run, factored.dq, *slice), p = slice_columns(run, factored.p, *slice);
          sparse_.push_back(sparse_samples(layer, dq, p, samples));
          added_sparse_.push_back(sparse_addition(layer, samples, gradients));
        }
      }
      if (gradients.diagonal != nullptr) {
        diagonal_.push_back(diagonal_addition(layer, slice_columns(run, factored.dq, *slice),
                                              slice_columns(run, factored.p, *slice), gradients));
      }
    }
  }

  // May run out of memory.
  void sample(const Engine& e) const {
    e.run_each(SIGMA_OPERATION_sddmm, sparse_);
    e.run_each(SIGMA_OPERATION_gemm, dense_);
  }

  // Cannot run out of memory.
  void add(const Engine& e) const {
    e.run_each(SIGMA_OPERATION_core_gradient, added_sparse_);
    e.run_each(SIGMA_OPERATION_column_sums, added_dense_);
    e.run_each(SIGMA_OPERATION_row_dots, diagonal_);
  }

 private:
  static bool widens(const Run& run, sigma_dtype dtype) {
    return is_narrow(run.layer(), dtype) &&
           run.any([](const EachSlice& slice) { return is_dense(slice) && wants_core(slice); });
  }

  Workspace& workspace_;
  std::vector<sigma_sddmm> sparse_;
  std::vector<sigma_gemm> dense_;
  std::vector<sigma_core_gradient> added_sparse_;
  std::vector<sigma_column_sums> added_dense_;
  std::vector<sigma_row_dots> diagonal_;
};

// Adds Σ_t dY[t] of each slice's rows.
void add_bias_gradients(const Engine& e, const EachBatch& batch, const Rows& dy) {
  std::vector<sigma_column_sums> calls;
  for (const EachSlice& slice : batch.slices) {
    if (slice.gradients.bias == nullptr) continue;
    calls.push_back({slice.layer.real, dy.of(slice), slice.gradients.bias, slice.gradients.fresh.bias});
  }
  e.run_each(SIGMA_OPERATION_column_sums, calls);
}

}  // namespace

int64_t each_saved_length(const EachBatch& batch) {
  int64_t length = 0;
  for (const Run& base : base_runs(batch)) {
    for (const Run& run : factor_runs(base)) length += has_core(run.layer()) ? intermediate_length(run) : 0;
  }
  return length;
}

void each_forward(const Engine& e, const EachBatch& batch, const sigma_matrix& x, const sigma_matrix& y, void* saved) {
  const sigma_dtype dtype = x.dtype;
  const std::vector<Run> bases = base_runs(batch);
  int64_t largest = 0;
  bool mixed = false;
  for (const Run& base : bases) {
    for (const Run& run : factor_runs(base)) largest = std::max(largest, intermediate_length(run));
    mixed = mixed || base.any([&](const EachSlice& slice) { return slice.layer.bias != base.layer().bias; });
  }
  const int64_t zeros = mixed ? whole_lines(std::max(batch.tokens, y.columns)) : 0;
  Workspace workspace(e, dtype,
                      Rows::length(batch, x.columns) + Rows::length(batch, y.columns) + zeros +
                          (saved != nullptr ? largest : 2 * largest) + narrow_cores_length(batch, dtype));
  void* const q_data = workspace.take(largest);
  void* const p_data = saved != nullptr ? saved : workspace.take(largest);
  void* const zero = workspace.take(zeros);
  if (zeros > 0) e.check(e.backend->zero(e.context, zero, static_cast<size_t>(zeros) * element_size(dtype)));
  const Rows input(batch, x, workspace), output(batch, y, workspace);
  input.sort(e, batch);

  auto* next = static_cast<std::byte*>(p_data);
  for (const Run& base : bases) {
    const AdapterLayer& shared = base.layer();
    const void* const bias = common_bias(base);
    const bool with_base = shared.has_base();
    if (with_base) {
      gemm(e, shared.real, kPlain, input.of(base), kTransposed, base_of(shared), kOverwrite, bias, output.of(base));
    }
    for (const Run& run : factor_runs(base)) {
      const AdapterLayer& layer = run.layer();
      if (!has_core(layer)) continue;
      const sigma_matrix p = intermediate(dtype, next, layer.rank(), run.tokens());
      const sigma_matrix q = intermediate(dtype, q_data, layer.rank(), run.tokens());
      if (saved != nullptr) next += static_cast<size_t>(intermediate_length(run)) * element_size(dtype);
      gemm(e, layer.real, kPlain, vt_of(layer), kTransposed, input.of(run), kOverwrite, nullptr, p);
      core_products(e, run, kPlain, p, q, workspace);
      gemm(e, layer.real, kTransposed, q, kTransposed, u_of(layer), with_base, with_base ? nullptr : bias,
           output.of(run));
    }
    if (bias == nullptr) add_biases(e, base, output, zero);
  }
  output.give_back(e, batch);
}

void each_backward(const Engine& e, const EachBatch& batch, const void* saved, const sigma_matrix& dy,
                   const sigma_matrix* dx) {
  const sigma_dtype dtype = dy.dtype;
  const std::vector<Run> bases = base_runs(batch);
  // dQ of every run is kept until all that may fail is done.
  int64_t kept = 0, largest = 0, numbers = 0;
  for (const Run& base : bases) {
    for (const Run& run : factor_runs(base)) {
      kept += intermediate_length(run);
      largest = std::max(largest, intermediate_length(run));
      numbers += CoreGradients::length(run, dtype);
    }
  }
  const int64_t in = dx != nullptr ? dx->columns : 0;
  Workspace workspace(
      e, dtype,
      kept + largest + Rows::length(batch, dy.columns) + Rows::length(batch, in) + narrow_cores_length(batch, dtype),
      numbers);
  void* const dp_data = workspace.take(largest);
  const Rows given(batch, dy, workspace);
  const Rows wanted(batch, dx != nullptr ? *dx : dense_matrix(dtype, nullptr, batch.tokens, 0), workspace);
  given.sort(e, batch);

  CoreGradients gradients(workspace);
  const auto* next = static_cast<const std::byte*>(saved);
  for (const Run& base : bases) {
    const AdapterLayer& shared = base.layer();
    const bool adds = dx != nullptr && shared.has_base();
    if (adds) {
      gemm(e, shared.real, kPlain, given.of(base), kPlain, base_of(shared), kOverwrite, nullptr, wanted.of(base));
    }
    for (const Run& run : factor_runs(base)) {
      const AdapterLayer& layer = run.layer();
      if (!has_core(layer)) continue;
      const sigma_matrix p = intermediate(dtype, next, layer.rank(), run.tokens());
      if (saved != nullptr) next += static_cast<size_t>(intermediate_length(run)) * element_size(dtype);
      const bool trains = run.any(wants_core);
      if (dx == nullptr && !trains) continue;
      const sigma_matrix dq = intermediate(dtype, workspace.take(intermediate_length(run)), layer.rank(), run.tokens());
      gemm(e, layer.real, kTransposed, u_of(layer), kTransposed, given.of(run), kOverwrite, nullptr, dq);
      if (dx != nullptr) {
        const sigma_matrix dp = intermediate(dtype, dp_data, layer.rank(), run.tokens());
        core_products(e, run, kTransposed, dq, dp, workspace);
        gemm(e, layer.real, kTransposed, dp, kPlain, vt_of(layer), adds, nullptr, wanted.of(run));
      }
      if (trains) gradients.take(e, {run, p, dq});
    }
  }
  if (dx != nullptr) wanted.give_back(e, batch);
  gradients.sample(e);
  gradients.add(e);
  add_bias_gradients(e, batch, given);
}

}  // namespace sigma
