#include "adapter.h"

#include <cstddef>

namespace sigma {
namespace {

// Rows of an intermediate start some lines of the cache off a power of two: else all rows of one token fall into the
// same sets. Five lines in eight keep the rows that a band goes through apart from each other; few tokens need less.
int64_t padded(int64_t tokens) {
  const int64_t lines = (tokens + 15) / 16;
  return (lines < 16 ? lines + 1 : lines + (13 - lines % 8) % 8) * 16;
}

// The backend never writes what a recipe passes as an input.
sigma_matrix matrix(const void* data, int64_t rows, int64_t columns, int64_t stride) {
  return {const_cast<void*>(data), rows, columns, stride};
}
sigma_matrix dense(const void* data, int64_t rows, int64_t columns) { return matrix(data, rows, columns, columns); }
sigma_matrix intermediate(const void* data, int64_t rank, int64_t tokens) {
  return matrix(data, rank, tokens, padded(tokens));
}

// Scratch memory of one call: matrices of `elements` in all, and behind them a vector of `samples`.
class Workspace {
 public:
  Workspace(const Engine& engine, int64_t elements, int64_t samples = 0) : size_(element_size(engine.dtype)) {
    const size_t matrices = static_cast<size_t>(elements) * size_;
    const size_t bytes = matrices + static_cast<size_t>(samples) * vector_element_size(engine.dtype);
    void* memory = nullptr;
    engine.check(engine.backend->reserve(engine.context, bytes, &memory));
    next_ = static_cast<std::byte*>(memory);
    samples_ = next_ + matrices;
  }
  void* take(int64_t elements) {
    void* const taken = next_;
    next_ += static_cast<size_t>(elements) * size_;
    return taken;
  }
  void* samples() const { return samples_; }

 private:
  size_t size_;
  std::byte* next_ = nullptr;
  void* samples_ = nullptr;
};

constexpr bool kPlain = false;
constexpr bool kTransposed = true;
constexpr bool kOverwrite = false;

// C = op(A) op(B) [+ C] [+ bias]
void gemm(const Engine& e, bool transpose_a, const sigma_matrix& a, bool transpose_b, const sigma_matrix& b,
          bool accumulate, const void* bias, const sigma_matrix& c) {
  e.call(e.backend->gemm, transpose_a, transpose_b, &a, &b, accumulate, bias, &c);
}

// out = C dense, or Cᵀ dense
void core_product(const Engine& e, const sigma_core& core, bool transpose, const sigma_matrix& dense_operand,
                  const sigma_matrix& out) {
  e.call(e.backend->spmm, &core, transpose, &dense_operand, &out);
}

int64_t sample_count(const AdapterLayer& layer, const AdapterGradients& gradients) {
  return gradients.wants_samples() ? layer.core.pattern->entries : 0;
}

// K = A Bᵀ, sampled: its diagonal is dd, its entries on the pattern give dM and dγ. `samples` is scratch (z). What may
// find no memory comes first; row_dots and column_sums need none.
void core_pull_back(const Engine& e, const AdapterLayer& layer, const sigma_matrix& a, const sigma_matrix& b,
                    void* samples, const AdapterGradients& gradients) {
  if (gradients.wants_samples()) {
    e.call(e.backend->sddmm, layer.core.pattern, &a, &b, samples);
    e.call(e.backend->core_gradient, &layer.core, samples, gradients.values, gradients.gate);
  }
  if (gradients.diagonal != nullptr) {
    const void* const mask = layer.core.rectified != 0 ? layer.core.diagonal : nullptr;
    e.call(e.backend->row_dots, &a, &b, mask, gradients.diagonal);
  }
}

void bias_pull_back(const Engine& e, const sigma_matrix& dy, void* dbias) {
  if (dbias != nullptr) e.call(e.backend->column_sums, &dy, dbias);
}

// P = Vᵀ Xᵀ
void project_input(const Engine& e, const AdapterLayer& layer, const sigma_matrix& x, const sigma_matrix& p) {
  gemm(e, kPlain, dense(layer.vt, layer.rank, layer.in), kTransposed, x, kOverwrite, nullptr, p);
}

}  // namespace

int64_t adapter_saved_length(int64_t rank, int64_t tokens) { return rank * padded(tokens); }

void adapter_forward(const Engine& e, const AdapterLayer& layer, int64_t tokens, const void* x_data, void* y_data,
                     void* saved) {
  const int64_t length = adapter_saved_length(layer.rank, tokens);
  Workspace workspace(e, saved != nullptr ? length : 2 * length);
  const sigma_matrix x = dense(x_data, tokens, layer.in);
  const sigma_matrix y = dense(y_data, tokens, layer.out);
  const sigma_matrix u = dense(layer.u, layer.out, layer.rank);
  const sigma_matrix p = intermediate(saved != nullptr ? saved : workspace.take(length), layer.rank, tokens);
  const sigma_matrix q = intermediate(workspace.take(length), layer.rank, tokens);

  project_input(e, layer, x, p);
  core_product(e, layer.core, kPlain, p, q);
  const bool with_base = layer.base != nullptr;
  if (with_base) {
    gemm(e, kPlain, x, kTransposed, dense(layer.base, layer.out, layer.in), kOverwrite, layer.bias, y);
  }
  gemm(e, kTransposed, q, kTransposed, u, with_base, with_base ? nullptr : layer.bias, y);
}

void adapter_backward(const Engine& e, const AdapterLayer& layer, int64_t tokens, const AdapterSaved& saved,
                      const void* dy_data, void* dx_data, const AdapterGradients& gradients) {
  const sigma_matrix dy = dense(dy_data, tokens, layer.out);
  if (dx_data == nullptr && !gradients.wants_core()) return bias_pull_back(e, dy, gradients.bias);

  const int64_t length = adapter_saved_length(layer.rank, tokens);
  Workspace workspace(e, 2 * length, sample_count(layer, gradients));
  const sigma_matrix dq = intermediate(workspace.take(length), layer.rank, tokens);
  // dP is done with when P is needed, so that one piece of memory serves both.
  const sigma_matrix other = intermediate(workspace.take(length), layer.rank, tokens);
  gemm(e, kTransposed, dense(layer.u, layer.out, layer.rank), kTransposed, dy, kOverwrite, nullptr, dq);
  if (dx_data != nullptr) {
    const sigma_matrix dx = dense(dx_data, tokens, layer.in);
    core_product(e, layer.core, kTransposed, dq, other);
    gemm(e, kTransposed, other, kPlain, dense(layer.vt, layer.rank, layer.in), kOverwrite, nullptr, dx);
    if (layer.base != nullptr) {
      gemm(e, kPlain, dy, kPlain, dense(layer.base, layer.out, layer.in), true, nullptr, dx);
    }
  }
  if (gradients.wants_core()) {
    if (saved.p == nullptr) project_input(e, layer, dense(saved.x, tokens, layer.in), other);
    const sigma_matrix p = saved.p != nullptr ? intermediate(saved.p, layer.rank, tokens) : other;
    core_pull_back(e, layer, dq, p, workspace.samples(), gradients);
  }
  bias_pull_back(e, dy, gradients.bias);
}

void adapter_merge(const Engine& e, const AdapterLayer& layer, void* merged) {
  const int64_t length = adapter_saved_length(layer.rank, layer.in);
  Workspace workspace(e, length);
  const sigma_matrix scaled = intermediate(workspace.take(length), layer.rank, layer.in);
  core_product(e, layer.core, kPlain, dense(layer.vt, layer.rank, layer.in), scaled);
  if (layer.base != nullptr) {
    const size_t bytes = static_cast<size_t>(layer.out * layer.in) * element_size(e.dtype);
    e.check(e.backend->copy(e.context, merged, layer.base, bytes));
  }
  gemm(e, kPlain, dense(layer.u, layer.out, layer.rank), kPlain, scaled, layer.base != nullptr, nullptr,
       dense(merged, layer.out, layer.in));
}

void weight_backward(const Engine& e, int64_t out, int64_t in, int64_t tokens, const WeightPullBack& call) {
  const sigma_matrix dy = dense(call.dy, tokens, out);
  if (call.dx != nullptr) {
    gemm(e, kPlain, dy, kPlain, dense(call.weight, out, in), kOverwrite, nullptr, dense(call.dx, tokens, in));
  }
  if (call.g != nullptr) {
    gemm(e, kTransposed, dy, kPlain, dense(call.x, tokens, in), call.accumulate, nullptr, dense(call.g, out, in));
  }
  bias_pull_back(e, dy, call.dbias);
}

void adapter_project(const Engine& e, const AdapterLayer& layer, const void* g, const AdapterGradients& gradients) {
  const int64_t length = adapter_saved_length(layer.rank, layer.in);
  Workspace workspace(e, length, sample_count(layer, gradients));
  const sigma_matrix h = intermediate(workspace.take(length), layer.rank, layer.in);
  gemm(e, kTransposed, dense(layer.u, layer.out, layer.rank), kPlain, dense(g, layer.out, layer.in), kOverwrite,
       nullptr, h);
  const sigma_matrix vt = dense(layer.vt, layer.rank, layer.in);
  core_pull_back(e, layer, h, vt, workspace.samples(), gradients);
}

}  // namespace sigma
