// The parts of the adapter recipes: intermediates, workspace, products in the layout of a layer, and products and
// gradients of a layer's core. A core's calls are returned, so that a recipe can run those of many layers together.
#pragma once

#include <cstddef>

#include "recipes/adapter.h"

namespace sigma {

constexpr bool kPlain = false;
constexpr bool kTransposed = true;
constexpr bool kOverwrite = false;
constexpr bool kAccumulate = true;

// (r, N), tokens contiguous, with padded rows
sigma_matrix intermediate(sigma_dtype dtype, const void* data, int64_t rank, int64_t tokens);

// A view of `count` columns of a matrix that has no scales.
sigma_matrix columns_of(const sigma_matrix& matrix, int64_t first, int64_t count);

// A view of `count` rows of a matrix that has no scales.
sigma_matrix rows_of(const sigma_matrix& matrix, int64_t first, int64_t count);

// Workspace of one call: `elements` of the intermediates' type, followed by `numbers` of the vectors' type.
class Workspace {
 public:
  Workspace(const Engine& engine, sigma_dtype dtype, int64_t elements, int64_t numbers = 0);
  void* take(int64_t elements);
  void* take_numbers(int64_t count);

 private:
  size_t size_, number_size_;
  std::byte* next_ = nullptr;
  std::byte* next_number_ = nullptr;
};

// A matrix, or the transpose of what is stored.
struct Oriented {
  Oriented(const sigma_matrix& matrix_, bool transposed_ = false) : matrix(matrix_), transposed(transposed_) {}
  sigma_matrix matrix;
  bool transposed;
};

// U (out, r), Vᵀ (r, in) and W0 (out, in), however the layer stores them.
inline Oriented u_of(const AdapterLayer& layer) { return {layer.transposed ? layer.vt : layer.u, layer.transposed}; }
inline Oriented vt_of(const AdapterLayer& layer) { return {layer.transposed ? layer.u : layer.vt, layer.transposed}; }
inline Oriented base_of(const AdapterLayer& layer) { return {layer.base, layer.transposed}; }

// C = op(A) op(B) [+ C] [+ bias]
void gemm(const Engine& e, sigma_real real, bool transpose_a, const Oriented& a, bool transpose_b, const Oriented& b,
          bool accumulate, const void* bias, const sigma_matrix& c);

inline bool is_narrow(const AdapterLayer& layer, sigma_dtype dtype) { return dtype != dtype_of(layer.real); }

// Length of the copy of a dense C in the intermediates' type; 0 if no copy is needed.
int64_t narrow_core_length(const AdapterLayer& layer, sigma_dtype dtype);

// out = C x, or Cᵀ x; x (r, N).
inline sigma_spmm sparse_core_product(const AdapterLayer& layer, bool transpose, const sigma_matrix& x,
                                      const sigma_matrix& out) {
  return {layer.real, transpose, &layer.core, x, out};
}
// The same for a dense C. Narrows C into `scratch`, narrow_core_length elements.
sigma_gemm dense_core_product(const Engine& e, const AdapterLayer& layer, bool transpose, const sigma_matrix& x,
                              const sigma_matrix& out, void* scratch);

// Number of samples of K = A Bᵀ that the gradients need: one for each of M's values, or all of K for a dense core.
inline int64_t samples_length(const AdapterLayer& layer, const AdapterGradients& gradients) {
  return gradients.wants_samples() ? layer.core_values() : 0;
}

// Copies a matrix without padding to `memory` as type `dtype`.
sigma_matrix dense_cast(const Engine& e, const sigma_matrix& from, sigma_dtype dtype, void* memory);

// Copies an intermediate, with its padding, to `memory` in the vectors' precision.
sigma_matrix widened(const Engine& e, sigma_real real, const sigma_matrix& from, void* memory);

// samples = K's entries on the pattern.
inline sigma_sddmm sparse_samples(const AdapterLayer& layer, const sigma_matrix& a, const sigma_matrix& b,
                                  void* samples) {
  return {layer.real, layer.core.pattern, a, b, samples};
}
// samples = K, for a dense core. A and B have the vectors' precision, because sums in a narrow type lose too much.
inline sigma_gemm dense_samples(const AdapterLayer& layer, const sigma_matrix& a, const sigma_matrix& b,
                                void* samples) {
  const int64_t r = layer.rank();
  return {layer.real, kPlain, kTransposed, kOverwrite, a, b, dense_matrix(a.dtype, samples, r, r), nullptr};
}

// What adds to the gradients of a core. These operations never run out of memory, so they go last.
inline sigma_core_gradient sparse_addition(const AdapterLayer& layer, const void* samples,
                                           const AdapterGradients& gradients) {
  return {layer.real,          &layer.core, samples, gradients.values, gradients.gate, gradients.fresh.values,
          gradients.fresh.gate};
}
inline sigma_column_sums dense_addition(const AdapterLayer& layer, const void* samples,
                                        const AdapterGradients& gradients) {
  return {layer.real, dense_matrix(dtype_of(layer.real), samples, 1, layer.core_values()), gradients.values,
          gradients.fresh.values};
}
// K's diagonal gives dd.
inline sigma_row_dots diagonal_addition(const AdapterLayer& layer, const sigma_matrix& a, const sigma_matrix& b,
                                        const AdapterGradients& gradients) {
  const void* const mask = layer.core.rectified != 0 ? layer.core.diagonal : nullptr;
  return {layer.real, a, b, mask, layer.core.offset, gradients.diagonal, gradients.fresh.diagonal};
}

}  // namespace sigma
