// What cuBLASLt needs to know of a product, kept from one call to the next: asking for an algorithm costs more than a
// small product.
#pragma once

#include <cublasLt.h>

#include <compare>
#include <cstdint>
#include <map>
#include <memory>

#include "cuda/runtime/libraries.h"
#include "cuda/runtime/memory.h"

namespace sigma::cuda {

// D (rows, columns) = op(A) op(B) [+ D] [+ bias], by columns, as cuBLAS counts.
struct GemmShape {
  cudaDataType_t type;
  bool transpose_a, transpose_b;
  int64_t rows, columns, inner;
  int64_t stride_a, stride_b, stride_d;
  bool accumulate;
  bool bias;
  // The largest powers of two, up to 256, that divide the addresses.
  uint32_t alignment_a, alignment_b, alignment_d;

  auto operator<=>(const GemmShape&) const = default;
};

// How a product is done.
struct GemmPlan {
  bool by_lt = false;  // otherwise by cublasGemmEx and a pass for the bias
  LtDescription description;
  LtLayout a, b, d;
  cublasLtMatmulAlgo_t algorithm = {};
};

// The plans, handles and workspace of one context.
struct GemmPlans {
  LtHandle lt;
  BlasHandle blas;
  Memory workspace;
  size_t workspace_bytes = 0;
  std::map<GemmShape, GemmPlan> plans;
};

}  // namespace sigma::cuda
