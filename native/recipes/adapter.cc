#include "adapter.h"

#include <cstddef>

namespace sigma {
namespace {

// Rows of an intermediate start a little off a power of two: else all rows of one token fall into the same cache sets.
int64_t padded(int64_t tokens) { return (tokens + 15) / 16 * 16 + 16; }

// The backend never writes what a recipe passes as an input.
sigma_matrix matrix(const void* data, int64_t rows, int64_t columns, int64_t stride) {
  return {const_cast<void*>(data), rows, columns, stride};
}
sigma_matrix dense(const void* data, int64_t rows, int64_t columns) { return matrix(data, rows, columns, columns); }
sigma_matrix intermediate(const void* data, int64_t rank, int64_t tokens) {
  return matrix(data, rank, tokens, padded(tokens));
}

// Scratch memory of one call, cut into matrices.
class Workspace {
 public:
  Workspace(const Engine& engine, int64_t elements) : size_(element_size(engine.dtype)) {
    void* memory = nullptr;
    engine.check(engine.backend->reserve(engine.context, static_cast<size_t>(elements) * size_, &memory));
    next_ = static_cast<std::byte*>(memory);
  }
  void* take(int64_t elements) {
    void* const taken = next_;
    next_ += static_cast<size_t>(elements) * size_;
    return taken;
  }

 private:
  size_t size_;
  std::byte* next_ = nullptr;
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

// K = A Bᵀ, sampled: its diagonal is dd, its entries on the pattern give dM and dγ. `samples` is scratch (z).
void core_pull_back(const Engine& e, const AdapterLayer& layer, const sigma_matrix& a, const sigma_matrix& b,
                    void* samples, const AdapterGradients& gradients) {
  if (gradients.diagonal != nullptr) {
    e.call(e.backend->row_dots, &a, &b, gradients.diagonal);
  }
  if (gradients.wants_samples()) {
    e.call(e.backend->sddmm, layer.core.pattern, &a, &b, samples);
    e.call(e.backend->core_gradient, &layer.core, samples, gradients.values, gradients.gate);
  }
}

void bias_pull_back(const Engine& e, const sigma_matrix& dy, const AdapterGradients& gradients) {
  if (gradients.bias != nullptr) e.call(e.backend->column_sums, &dy, gradients.bias);
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
  const sigma_matrix vt = dense(layer.vt, layer.rank, layer.in);
  const sigma_matrix p = intermediate(saved != nullptr ? saved : workspace.take(length), layer.rank, tokens);
  const sigma_matrix q = intermediate(workspace.take(length), layer.rank, tokens);

  gemm(e, kPlain, vt, kTransposed, x, kOverwrite, nullptr, p);
  core_product(e, layer.core, kPlain, p, q);
  const bool with_base = layer.base != nullptr;
  if (with_base) {
    gemm(e, kPlain, x, kTransposed, dense(layer.base, layer.out, layer.in), kOverwrite, layer.bias, y);
  }
  gemm(e, kTransposed, q, kTransposed, u, with_base, with_base ? nullptr : layer.bias, y);
}

void adapter_backward(const Engine& e, const AdapterLayer& layer, int64_t tokens, const void* saved,
                      const void* dy_data, void* dx_data, const AdapterGradients& gradients) {
  const sigma_matrix dy = dense(dy_data, tokens, layer.out);
  if (dx_data != nullptr || gradients.wants_core()) {
    const int64_t length = adapter_saved_length(layer.rank, tokens);
    Workspace workspace(e, 2 * length + sample_count(layer, gradients));
    const sigma_matrix dq = intermediate(workspace.take(length), layer.rank, tokens);
    gemm(e, kTransposed, dense(layer.u, layer.out, layer.rank), kTransposed, dy, kOverwrite, nullptr, dq);
    if (dx_data != nullptr) {
      const sigma_matrix dp = intermediate(workspace.take(length), layer.rank, tokens);
      const sigma_matrix dx = dense(dx_data, tokens, layer.in);
      core_product(e, layer.core, kTransposed, dq, dp);
      gemm(e, kTransposed, dp, kPlain, dense(layer.vt, layer.rank, layer.in), kOverwrite, nullptr, dx);
      if (layer.base != nullptr) {
        gemm(e, kPlain, dy, kPlain, dense(layer.base, layer.out, layer.in), true, nullptr, dx);
      }
    }
    const sigma_matrix p = intermediate(saved, layer.rank, tokens);
    core_pull_back(e, layer, dq, p, workspace.take(sample_count(layer, gradients)), gradients);
  }
  bias_pull_back(e, dy, gradients);
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

void adapter_merged_backward(const Engine& e, const AdapterLayer& layer, const void* merged, int64_t tokens,
                             const void* x_data, const void* dy_data, void* dx_data,
                             const AdapterGradients& gradients) {
  const sigma_matrix dy = dense(dy_data, tokens, layer.out);
  if (dx_data != nullptr) {
    gemm(e, kPlain, dy, kPlain, dense(merged, layer.out, layer.in), kOverwrite, nullptr,
         dense(dx_data, tokens, layer.in));
  }
  if (gradients.wants_core()) {
    const int64_t weight = layer.out * layer.in;
    const int64_t projected = adapter_saved_length(layer.rank, layer.in);
    Workspace workspace(e, weight + projected + sample_count(layer, gradients));
    const sigma_matrix g = dense(workspace.take(weight), layer.out, layer.in);
    const sigma_matrix h = intermediate(workspace.take(projected), layer.rank, layer.in);
    gemm(e, kTransposed, dy, kPlain, dense(x_data, tokens, layer.in), kOverwrite, nullptr, g);
    gemm(e, kTransposed, dense(layer.u, layer.out, layer.rank), kPlain, g, kOverwrite, nullptr, h);
    const sigma_matrix vt = dense(layer.vt, layer.rank, layer.in);
    core_pull_back(e, layer, h, vt, workspace.take(sample_count(layer, gradients)), gradients);
  }
  bias_pull_back(e, dy, gradients);
}

}  // namespace sigma
