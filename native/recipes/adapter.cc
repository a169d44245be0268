#include "recipes/adapter.h"

#include <cstddef>
#include <tuple>

namespace sigma {
namespace {

// Leading dimension of an intermediate. A power of two would map one token's numbers in all rows to the same cache
// sets. 5 lines modulo 8 also keep the rows of a band in different sets; few tokens need less padding.
int64_t padded(int64_t tokens) {
  const int64_t lines = (tokens + 15) / 16;
  return (lines < 16 ? lines + 1 : lines + (13 - lines % 8) % 8) * 16;
}

// (r, N) with padded rows
sigma_matrix intermediate(sigma_dtype dtype, const void* data, int64_t rank, int64_t tokens) {
  return {const_cast<void*>(data), rank, tokens, padded(tokens), dtype, nullptr};
}

// Workspace of one call: `elements` of the intermediates' type, followed by `numbers` of the vectors' type.
class Workspace {
 public:
  Workspace(const Engine& engine, sigma_dtype dtype, int64_t elements, int64_t numbers = 0)
      : size_(element_size(dtype)) {
    const size_t matrices = static_cast<size_t>(elements) * size_;
    const size_t bytes = matrices + static_cast<size_t>(numbers) * element_size(real_of(dtype));
    void* memory = nullptr;
    engine.check(engine.backend->reserve(engine.context, bytes, &memory));
    next_ = static_cast<std::byte*>(memory);
    numbers_ = next_ + matrices;
  }
  void* take(int64_t elements) {
    void* const taken = next_;
    next_ += static_cast<size_t>(elements) * size_;
    return taken;
  }
  void* numbers() const { return numbers_; }

 private:
  size_t size_;
  std::byte* next_ = nullptr;
  void* numbers_ = nullptr;
};

constexpr bool kPlain = false;
constexpr bool kTransposed = true;
constexpr bool kOverwrite = false;
constexpr bool kAccumulate = true;

// A matrix, or the transpose of what is stored.
struct Oriented {
  Oriented(const sigma_matrix& matrix_, bool transposed_ = false) : matrix(matrix_), transposed(transposed_) {}
  sigma_matrix matrix;
  bool transposed;
};

// U (out, r), Vᵀ (r, in) and W0 (out, in), however the layer stores them.
Oriented u_of(const AdapterLayer& layer) { return {layer.transposed ? layer.vt : layer.u, layer.transposed}; }
Oriented vt_of(const AdapterLayer& layer) { return {layer.transposed ? layer.u : layer.vt, layer.transposed}; }
Oriented base_of(const AdapterLayer& layer) { return {layer.base, layer.transposed}; }

// C = op(A) op(B) [+ C] [+ bias]
void gemm(const Engine& e, sigma_real real, bool transpose_a, const Oriented& a, bool transpose_b, const Oriented& b,
          bool accumulate, const void* bias, const sigma_matrix& c) {
  e.run(&sigma_backend::gemm, sigma_gemm{real, transpose_a != a.transposed, transpose_b != b.transposed, accumulate,
                                         a.matrix, b.matrix, c, bias});
}

bool is_narrow(const AdapterLayer& layer, sigma_dtype dtype) { return dtype != dtype_of(layer.real); }

// Length of the copy of a dense C in the intermediates' type; 0 if no copy is needed.
int64_t narrow_core_length(const AdapterLayer& layer, sigma_dtype dtype) {
  return layer.dense != nullptr && is_narrow(layer, dtype) ? (layer.core_values() + 15) / 16 * 16 : 0;
}

// out = C x, or Cᵀ x; x (r, N). `scratch` has narrow_core_length elements.
void core_product(const Engine& e, const AdapterLayer& layer, bool transpose, const sigma_matrix& x,
                  const sigma_matrix& out, void* scratch) {
  if (layer.dense == nullptr) {
    return e.run(&sigma_backend::spmm, sigma_spmm{layer.real, transpose, &layer.core, x, out});
  }
  const int64_t r = layer.rank();
  sigma_matrix c = dense_matrix(dtype_of(layer.real), layer.dense, r, r);
  if (is_narrow(layer, x.dtype)) {
    const sigma_matrix narrow = dense_matrix(x.dtype, scratch, r, r);
    e.run(&sigma_backend::cast, sigma_cast{c, narrow});
    c = narrow;
  }
  gemm(e, layer.real, transpose, c, kPlain, x, kOverwrite, nullptr, out);
}

// Scratch numbers that core_pull_back needs for operands with leading dimension `stride`.
int64_t pull_back_length(const AdapterLayer& layer, sigma_dtype dtype, int64_t stride,
                         const AdapterGradients& gradients) {
  if (!gradients.wants_samples()) return 0;
  if (layer.dense == nullptr) return layer.core_values();
  return is_narrow(layer, dtype) ? 2 * layer.rank() * stride : 0;
}

// Copies a matrix, with its padding, in the vectors' precision to `memory`, and advances `memory` past the copy.
sigma_matrix widened(const Engine& e, sigma_real real, const sigma_matrix& from, void*& memory) {
  const sigma_dtype dtype = dtype_of(real);
  e.run(&sigma_backend::cast, sigma_cast{dense_matrix(from.dtype, from.data, from.rows, from.stride),
                                         dense_matrix(dtype, memory, from.rows, from.stride)});
  const sigma_matrix to = {memory, from.rows, from.columns, from.stride, dtype, nullptr};
  memory = static_cast<std::byte*>(memory) + static_cast<size_t>(from.rows * from.stride) * element_size(dtype);
  return to;
}

// dC += A Bᵀ of a dense core. `scratch` has pull_back_length numbers.
void dense_pull_back(const Engine& e, const AdapterLayer& layer, sigma_matrix a, sigma_matrix b, void* scratch,
                     void* dvalues) {
  if (is_narrow(layer, a.dtype)) {  // accumulating gradients in a narrow type loses too much
    a = widened(e, layer.real, a, scratch);
    b = widened(e, layer.real, b, scratch);
  }
  const sigma_matrix to = dense_matrix(dtype_of(layer.real), dvalues, layer.rank(), layer.rank());
  gemm(e, layer.real, kPlain, a, kTransposed, b, kAccumulate, nullptr, to);
}

// Gradients from K = A Bᵀ: a dense core takes all of K; else K's diagonal gives dd, and its entries on the pattern give
// dM and dγ. `scratch` has pull_back_length numbers. Operations that may run out of memory go first; row_dots cannot.
void core_pull_back(const Engine& e, const AdapterLayer& layer, const sigma_matrix& a, const sigma_matrix& b,
                    void* scratch, const AdapterGradients& gradients) {
  if (layer.dense != nullptr) return dense_pull_back(e, layer, a, b, scratch, gradients.values);
  if (gradients.wants_samples()) {
    e.run(&sigma_backend::sddmm, sigma_sddmm{layer.real, layer.core.pattern, a, b, scratch});
    e.run(&sigma_backend::core_gradient,
          sigma_core_gradient{layer.real, &layer.core, scratch, gradients.values, gradients.gate});
  }
  if (gradients.diagonal != nullptr) {
    const void* const mask = layer.core.rectified != 0 ? layer.core.diagonal : nullptr;
    e.run(&sigma_backend::row_dots, sigma_row_dots{layer.real, a, b, mask, layer.core.offset, gradients.diagonal});
  }
}

void bias_pull_back(const Engine& e, sigma_real real, const sigma_matrix& dy, void* dbias) {
  if (dbias != nullptr) e.run(&sigma_backend::column_sums, sigma_column_sums{real, dy, dbias});
}

// P = Vᵀ Xᵀ
void project_input(const Engine& e, const AdapterLayer& layer, const sigma_matrix& x, const sigma_matrix& p) {
  gemm(e, layer.real, kPlain, vt_of(layer), kTransposed, x, kOverwrite, nullptr, p);
}

}  // namespace

int64_t adapter_saved_length(int64_t rank, int64_t tokens) { return rank * padded(tokens); }

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
  if (dx_data != nullptr || gradients.wants_core()) {
    const int64_t length = adapter_saved_length(layer.rank(), tokens);
    const int64_t narrow = narrow_core_length(layer, dy.dtype);
    const int64_t numbers = pull_back_length(layer, dy.dtype, padded(tokens), gradients);
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
      core_pull_back(e, layer, dq, p, workspace.numbers(), gradients);
    }
  }
  bias_pull_back(e, layer.real, dy, gradients.bias);
}

// W' as it is stored: [base] + u C vt, or [base] + u Cᵀ vt.
void adapter_merge(const Engine& e, const AdapterLayer& layer, const sigma_matrix& merged) {
  const int64_t columns = layer.vt.columns;
  const int64_t length = adapter_saved_length(layer.rank(), columns);
  const int64_t narrow = narrow_core_length(layer, merged.dtype);
  Workspace workspace(e, merged.dtype, length + narrow);
  const sigma_matrix scaled = intermediate(merged.dtype, workspace.take(length), layer.rank(), columns);
  core_product(e, layer, layer.transposed, layer.vt, scaled, workspace.take(narrow));
  if (layer.has_base()) {
    const size_t bytes = static_cast<size_t>(layer.out() * layer.in()) * element_size(merged.dtype);
    e.check(e.backend->copy(e.context, merged.data, layer.base.data, bytes));
  }
  gemm(e, layer.real, kPlain, layer.u, kPlain, scaled, layer.has_base(), nullptr, merged);
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
         dense_matrix(call.weight.dtype, call.g, call.weight.rows, call.weight.columns));
  }
  bias_pull_back(e, real, dy, call.dbias);
}

void adapter_project(const Engine& e, const AdapterLayer& layer, const sigma_matrix& g,
                     const AdapterGradients& gradients) {
  const int64_t columns = layer.vt.columns;
  const int64_t length = adapter_saved_length(layer.rank(), columns);
  const int64_t numbers = pull_back_length(layer, g.dtype, padded(columns), gradients);
  Workspace workspace(e, g.dtype, length, numbers);
  const sigma_matrix h = intermediate(g.dtype, workspace.take(length), layer.rank(), columns);
  gemm(e, layer.real, kTransposed, layer.u, kPlain, g, kOverwrite, nullptr, h);
  // K = (uᵀ G) vtᵀ, or its transpose.
  const auto& [a, b] = layer.transposed ? std::tie(layer.vt, h) : std::tie(h, layer.vt);
  core_pull_back(e, layer, a, b, workspace.numbers(), gradients);
}

}  // namespace sigma
