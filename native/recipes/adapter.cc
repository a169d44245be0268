#include "recipes/adapter.h"

#include <algorithm>
#include <array>
#include <tuple>

#include "recipes/parts.h"

namespace sigma {
namespace {

// out = C x, or Cᵀ x; x (r, N). `scratch` has narrow_core_length elements.
void core_product(const Engine& e, const AdapterLayer& layer, bool transpose, const sigma_matrix& x,
                  const sigma_matrix& out, void* scratch) {
  if (layer.dense == nullptr) {
    e.run(&sigma_backend::spmm, sparse_core_product(layer, transpose, x, out));
  } else {
    e.run(&sigma_backend::gemm, dense_core_product(e, layer, transpose, x, out, scratch));
  }
}

// Scratch numbers that pull_back needs for operands with leading dimension `stride`.
int64_t pull_back_length(const AdapterLayer& layer, sigma_dtype dtype, int64_t stride,
                         const AdapterGradients& gradients) {
  const int64_t samples = samples_length(layer, gradients);
  return samples > 0 && layer.dense != nullptr && is_narrow(layer, dtype) ? samples + 2 * layer.rank() * stride
                                                                          : samples;
}

// The gradient of the bias; its sums are null if it is not wanted.
sigma_column_sums bias_addition(const AdapterLayer& layer, const sigma_matrix& dy, const AdapterGradients& gradients) {
  return {layer.real, dy, gradients.bias, gradients.fresh.bias};
}

// Gradients from K = A Bᵀ: a dense core takes all of K; else K's diagonal gives dd, and its entries on the pattern give
// dM and dγ. Then the sums of the bias, if any. Operations that may run out of memory go first.
void pull_back(const Engine& e, const AdapterLayer& layer, sigma_matrix a, sigma_matrix b, Workspace& workspace,
               const AdapterGradients& gradients, const sigma_column_sums& bias) {
  sigma_layer_gradients call = {};
  call.bias = bias;
  if (gradients.diagonal != nullptr) call.diagonal = diagonal_addition(layer, a, b, gradients);
  if (gradients.wants_samples()) {
    void* const samples = workspace.take_numbers(layer.core_values());
    if (layer.dense != nullptr) {
      for (sigma_matrix* each : {&a, &b}) {
        if (is_narrow(layer, each->dtype))
          *each = widened(e, layer.real, *each, workspace.take_numbers(each->rows * each->stride));
      }
      e.run(&sigma_backend::gemm, dense_samples(layer, a, b, samples));
      e.run(&sigma_backend::column_sums, dense_addition(layer, samples, gradients));
    } else {
      call.samples = sparse_samples(layer, a, b, samples);
      call.core = sparse_addition(layer, samples, gradients);
    }
  }
  e.run(&sigma_backend::layer_gradients, call);
}

// The columns of vt in type `dtype`, as operations on rows read them. Those of an int8 vt are widened tile by tile, so
// that no whole matrix of wide numbers exists; another vt is one tile.
class ColumnTiles {
 public:
  ColumnTiles(const AdapterLayer& layer, sigma_dtype dtype)
      : vt_(layer.vt), dtype_(dtype),
        step_(layer.vt.dtype == SIGMA_INT8 ? std::min(kWidth, layer.vt.columns) : layer.vt.columns) {}

  int64_t columns() const { return vt_.columns; }
  int64_t step() const { return step_; }
  bool is_one() const { return step_ == vt_.columns; }
  // Elements of an intermediate for one tile, and of a widened tile.
  int64_t length() const { return adapter_saved_length(vt_.rows, step_); }
  int64_t wide_length() const { return vt_.dtype == dtype_ ? 0 : length(); }

  // The tile that begins at column `first`. `wide` has wide_length elements.
  sigma_matrix at(const Engine& e, int64_t first, void* wide) const {
    if (vt_.dtype == dtype_) return vt_;
    if (vt_.dtype != SIGMA_INT8) return dense_cast(e, vt_, dtype_, wide);
    const int64_t count = std::min(step_, vt_.columns - first);
    sigma_matrix codes = columns_of(vt_, first, count);
    codes.scales = vt_.scales + first / SIGMA_SCALE_GROUP;
    const sigma_matrix tile = intermediate(dtype_, wide, vt_.rows, count);
    e.run(&sigma_backend::cast, sigma_cast{codes, tile});
    return tile;
  }

 private:
  static constexpr int64_t kWidth = 8 * SIGMA_SCALE_GROUP;

  sigma_matrix vt_;
  sigma_dtype dtype_;
  int64_t step_;
};

// The gradients of several tiles. They are summed apart and added to the gradients at the end, so that nothing is added
// if a tile runs out of memory. One tile adds to the gradients at once.
class TileSums {
 public:
  TileSums(const AdapterLayer& layer, const AdapterGradients& gradients, bool one)
      : real_(layer.real), gradients_(gradients), targets_(gradients), sizes_{layer.rank(), layer.core_values(), 1},
        one_(one) {
    if (!one_) targets_.fresh = {1, 1, 1, 1};
  }

  int64_t length() const {
    if (one_) return 0;
    return (gradients_.diagonal != nullptr ? sizes_[0] : 0) + (gradients_.values != nullptr ? sizes_[1] : 0) +
           (gradients_.gate != nullptr ? sizes_[2] : 0);
  }

  void take(Workspace& workspace) {
    if (one_) return;
    each([&](void* gradient, void*& target, int64_t size, int32_t) {
      if (gradient != nullptr) target = workspace.take_numbers(size);
    });
  }

  const AdapterGradients& targets() const { return targets_; }

  // From now on the targets have the sums of a tile.
  void begun() { targets_.fresh = {}; }

  // Cannot run out of memory.
  void add(const Engine& e) {
    if (one_) return;
    each([&](void* gradient, void* target, int64_t size, int32_t fresh) {
      if (gradient == nullptr) return;
      e.run(&sigma_backend::column_sums,
            sigma_column_sums{real_, dense_matrix(dtype_of(real_), target, 1, size), gradient, fresh});
    });
  }

 private:
  template <class Body>
  void each(const Body& body) {
    const auto& fresh = gradients_.fresh;
    body(gradients_.diagonal, targets_.diagonal, sizes_[0], fresh.diagonal);
    body(gradients_.values, targets_.values, sizes_[1], fresh.values);
    body(gradients_.gate, targets_.gate, sizes_[2], fresh.gate);
  }

  sigma_real real_;
  AdapterGradients gradients_, targets_;
  std::array<int64_t, 3> sizes_;
  bool one_;
};

// Rows of a u of 16 bits that are widened at a time.
constexpr int64_t kWideRows = 512;

// Elements of the widened rows of u that uᵀ G needs, with G of type `dtype`.
int64_t wide_rows_length(const AdapterLayer& layer, sigma_dtype dtype) {
  return is_half(layer.u.dtype) && layer.u.dtype != dtype ? std::min(kWideRows, layer.u.rows) * layer.rank() : 0;
}

// H = uᵀ G. Widens a u of fewer bits, because no backend multiplies 16 bits by float32. `wide` has wide_rows_length
// elements.
void project_rows(const Engine& e, const AdapterLayer& layer, const sigma_matrix& g, const sigma_matrix& h,
                  void* wide) {
  if (wide_rows_length(layer, g.dtype) == 0)
    return gemm(e, layer.real, kTransposed, layer.u, kPlain, g, kOverwrite, nullptr, h);
  for (int64_t first = 0; first < g.rows; first += kWideRows) {
    const int64_t count = std::min(kWideRows, g.rows - first);
    const sigma_matrix u = dense_cast(e, rows_of(layer.u, first, count), g.dtype, wide);
    gemm(e, layer.real, kTransposed, u, kPlain, rows_of(g, first, count), /* accumulate = */ first > 0, nullptr, h);
  }
}

// P = Vᵀ Xᵀ
void project_input(const Engine& e, const AdapterLayer& layer, const sigma_matrix& x, const sigma_matrix& p) {
  gemm(e, layer.real, kPlain, vt_of(layer), kTransposed, x, kOverwrite, nullptr, p);
}

}  // namespace

void adapter_forward(const Engine& e, const AdapterLayer& layer, const sigma_matrix& x, const sigma_matrix& y,
                     void* saved) {
  const int64_t tokens = x.rows;
  const int64_t length = adapter_saved_length(layer.rank(), tokens);
  const int64_t narrow = narrow_core_length(layer, x.dtype);
  Workspace workspace(e, x.dtype, (saved != nullptr ? length : 2 * length) + narrow);
  const sigma_matrix p = intermediate(x.dtype, saved != nullptr ? saved : workspace.take(length), layer.rank(), tokens);
  const sigma_matrix q = intermediate(x.dtype, workspace.take(length), layer.rank(), tokens);

  project_input(e, layer, x, p);
  core_product(e, layer, kPlain, p, q, workspace.take(narrow));
  const bool with_base = layer.has_base();
  if (with_base) gemm(e, layer.real, kPlain, x, kTransposed, base_of(layer), kOverwrite, layer.bias, y);
  gemm(e, layer.real, kTransposed, q, kTransposed, u_of(layer), with_base, with_base ? nullptr : layer.bias, y);
}

void adapter_backward(const Engine& e, const AdapterLayer& layer, const AdapterSaved& saved, const sigma_matrix& dy,
                      void* dx_data, const AdapterGradients& gradients) {
  const int64_t tokens = dy.rows;
  const sigma_column_sums bias = bias_addition(layer, dy, gradients);
  if (dx_data != nullptr || gradients.wants_core()) {
    const int64_t length = adapter_saved_length(layer.rank(), tokens);
    const int64_t narrow = narrow_core_length(layer, dy.dtype);
    const int64_t stride = intermediate(dy.dtype, nullptr, layer.rank(), tokens).stride;
    const int64_t numbers = pull_back_length(layer, dy.dtype, stride, gradients);
    Workspace workspace(e, dy.dtype, 2 * length + narrow, numbers);
    const sigma_matrix dq = intermediate(dy.dtype, workspace.take(length), layer.rank(), tokens);
    // Holds dP, and then P.
    const sigma_matrix other = intermediate(dy.dtype, workspace.take(length), layer.rank(), tokens);
    gemm(e, layer.real, kTransposed, u_of(layer), kTransposed, dy, kOverwrite, nullptr, dq);
    if (dx_data != nullptr) {
      const sigma_matrix dx = dense_matrix(dy.dtype, dx_data, tokens, layer.in());
      core_product(e, layer, kTransposed, dq, other, workspace.take(narrow));
      gemm(e, layer.real, kTransposed, other, kPlain, vt_of(layer), kOverwrite, nullptr, dx);
      if (layer.has_base()) gemm(e, layer.real, kPlain, dy, kPlain, base_of(layer), true, nullptr, dx);
    }
    if (gradients.wants_core()) {
      if (saved.p == nullptr) {
        project_input(e, layer, dense_matrix(dy.dtype, saved.x, tokens, layer.in()), other);
      }
      const sigma_matrix p = saved.p != nullptr ? intermediate(dy.dtype, saved.p, layer.rank(), tokens) : other;
      return pull_back(e, layer, dq, p, workspace, gradients, bias);
    }
  }
  if (bias.sums != nullptr) e.run(&sigma_backend::column_sums, bias);
}

// W' as it is stored: [base] + u C vt, or [base] + u Cᵀ vt.
void adapter_merge(const Engine& e, const AdapterLayer& layer, const sigma_matrix& merged) {
  const sigma_dtype dtype = merged.dtype;
  const ColumnTiles tiles(layer, dtype);
  const int64_t narrow = narrow_core_length(layer, dtype);
  Workspace workspace(e, dtype, tiles.length() + tiles.wide_length() + narrow);
  void* const scaled_data = workspace.take(tiles.length());
  void* const wide = workspace.take(tiles.wide_length());
  void* const scratch = workspace.take(narrow);
  if (layer.has_base()) {
    const size_t bytes = static_cast<size_t>(layer.out() * layer.in()) * element_size(dtype);
    e.check(e.backend->copy(e.context, merged.data, layer.base.data, bytes));
  }
  for (int64_t first = 0; first < tiles.columns(); first += tiles.step()) {
    const sigma_matrix vt = tiles.at(e, first, wide);
    const sigma_matrix scaled = intermediate(dtype, scaled_data, layer.rank(), vt.columns);
    core_product(e, layer, layer.transposed, vt, scaled, scratch);
    gemm(e, layer.real, kPlain, layer.u, kPlain, scaled, layer.has_base(), nullptr,
         columns_of(merged, first, vt.columns));
  }
}

void weight_backward(const Engine& e, const WeightPullBack& call) {
  const sigma_matrix& dy = call.dy;
  const int64_t in = call.transposed ? call.weight.rows : call.weight.columns;
  const sigma_real real = real_of(call.weight.dtype);
  if (call.dx != nullptr) {
    gemm(e, real, kPlain, dy, kPlain, {call.weight, call.transposed}, kOverwrite, nullptr,
         dense_matrix(dy.dtype, call.dx, dy.rows, in));
  }
  if (call.g != nullptr) {
    const sigma_matrix x = dense_matrix(dy.dtype, call.x, dy.rows, in);
    const auto& [left, right] = call.transposed ? std::tie(x, dy) : std::tie(dy, x);
    gemm(e, real, kTransposed, left, kPlain, right, call.accumulate, nullptr,
         dense_matrix(dtype_of(real), call.g, call.weight.rows, call.weight.columns));
  }
  if (call.dbias != nullptr)
    e.run(&sigma_backend::column_sums, sigma_column_sums{real, dy, call.dbias, /* fresh = */ 0});
}

void adapter_project(const Engine& e, const AdapterLayer& layer, const sigma_matrix& g,
                     const AdapterGradients& gradients) {
  const ColumnTiles tiles(layer, g.dtype);
  const int64_t stride = intermediate(g.dtype, nullptr, layer.rank(), tiles.step()).stride;
  const int64_t numbers = pull_back_length(layer, g.dtype, stride, gradients);
  TileSums sums(layer, gradients, tiles.is_one());
  const int64_t wide_rows = wide_rows_length(layer, g.dtype);
  Workspace workspace(e, g.dtype, tiles.length() + tiles.wide_length() + wide_rows, numbers + sums.length());
  void* const h_data = workspace.take(tiles.length());
  void* const wide = workspace.take(tiles.wide_length());
  void* const rows = workspace.take(wide_rows);
  sums.take(workspace);
  for (int64_t first = 0; first < tiles.columns(); first += tiles.step()) {
    const sigma_matrix vt = tiles.at(e, first, wide);
    const sigma_matrix h = intermediate(g.dtype, h_data, layer.rank(), vt.columns);
    project_rows(e, layer, columns_of(g, first, vt.columns), h, rows);
    // K = (uᵀ G) vtᵀ, or its transpose.
    const auto& [a, b] = layer.transposed ? std::tie(vt, h) : std::tie(h, vt);
    Workspace samples = workspace;  // each tile takes the same memory
    pull_back(e, layer, a, b, samples, sums.targets(), /* bias = */ {});
    sums.begun();
  }
  sums.add(e);
}

}  // namespace sigma
