#include "recipes/parts.h"

namespace sigma {
namespace {

// Leading dimension of an intermediate. A power of two would map one token's numbers in all rows to the same cache
// sets. 5 lines modulo 8 also keep the rows of a band in different sets; few tokens need less padding.
int64_t padded(int64_t tokens) {
  const int64_t lines = (tokens + 15) / 16;
  return (lines < 16 ? lines + 1 : lines + (13 - lines % 8) % 8) * 16;
}

}  // namespace

int64_t adapter_saved_length(int64_t rank, int64_t tokens) { return rank * padded(tokens); }

sigma_matrix intermediate(sigma_dtype dtype, const void* data, int64_t rank, int64_t tokens) {
  return {const_cast<void*>(data), rank, tokens, padded(tokens), dtype, nullptr};
}

sigma_matrix columns_of(const sigma_matrix& matrix, int64_t first, int64_t count) {
  auto* const data = static_cast<std::byte*>(matrix.data) + static_cast<size_t>(first) * element_size(matrix.dtype);
  return {data, matrix.rows, count, matrix.stride, matrix.dtype, nullptr};
}

sigma_matrix rows_of(const sigma_matrix& matrix, int64_t first, int64_t count) {
  const size_t skipped = static_cast<size_t>(first * matrix.stride) * element_size(matrix.dtype);
  return {static_cast<std::byte*>(matrix.data) + skipped, count, matrix.columns, matrix.stride, matrix.dtype, nullptr};
}

Workspace::Workspace(const Engine& engine, sigma_dtype dtype, int64_t elements, int64_t numbers)
    : size_(element_size(dtype)), number_size_(element_size(real_of(dtype))) {
  const size_t matrices = static_cast<size_t>(elements) * size_;
  void* memory = nullptr;
  engine.check(
      engine.backend->reserve(engine.context, matrices + static_cast<size_t>(numbers) * number_size_, &memory));
  next_ = static_cast<std::byte*>(memory);
  next_number_ = next_ + matrices;
}

void* Workspace::take(int64_t elements) {
  void* const taken = next_;
  next_ += static_cast<size_t>(elements) * size_;
  return taken;
}

void* Workspace::take_numbers(int64_t count) {
  void* const taken = next_number_;
  next_number_ += static_cast<size_t>(count) * number_size_;
  return taken;
}

void gemm(const Engine& e, sigma_real real, bool transpose_a, const Oriented& a, bool transpose_b, const Oriented& b,
          bool accumulate, const void* bias, const sigma_matrix& c) {
  e.run(&sigma_backend::gemm, sigma_gemm{real, transpose_a != a.transposed, transpose_b != b.transposed, accumulate,
                                         a.matrix, b.matrix, c, bias});
}

int64_t narrow_core_length(const AdapterLayer& layer, sigma_dtype dtype) {
  return layer.dense != nullptr && is_narrow(layer, dtype) ? (layer.core_values() + 15) / 16 * 16 : 0;
}

sigma_gemm dense_core_product(const Engine& e, const AdapterLayer& layer, bool transpose, const sigma_matrix& x,
                              const sigma_matrix& out, void* scratch) {
  const int64_t r = layer.rank();
  sigma_matrix c = dense_matrix(dtype_of(layer.real), layer.dense, r, r);
  if (is_narrow(layer, x.dtype)) {
    c = dense_cast(e, c, x.dtype, scratch);
  }
  return {layer.real, transpose, kPlain, kOverwrite, c, x, out, nullptr};
}

sigma_matrix dense_cast(const Engine& e, const sigma_matrix& from, sigma_dtype dtype, void* memory) {
  const sigma_matrix to = dense_matrix(dtype, memory, from.rows, from.columns);
  e.run(&sigma_backend::cast, sigma_cast{from, to});
  return to;
}

sigma_matrix widened(const Engine& e, sigma_real real, const sigma_matrix& from, void* memory) {
  const sigma_dtype dtype = dtype_of(real);
  dense_cast(e, dense_matrix(from.dtype, from.data, from.rows, from.stride), dtype, memory);
  return {memory, from.rows, from.columns, from.stride, dtype, nullptr};
}

}  // namespace sigma
