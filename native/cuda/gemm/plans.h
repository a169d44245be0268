// A cache of cuBLASLt plans by shape: asking for an algorithm takes longer than a small product.
#pragma once

#include <cublasLt.h>

#include <compare>
#include <cstdint>
#include <map>
#include <memory>

#include "cuda/runtime/libraries.h"
#include "cuda/runtime/memory.h"

namespace sigma::cuda {

// D (rows, columns) = op(A) op(B) [+ D] [+ bias], column-major.
struct GemmShape {
  cudaDataType_t type;    // of A and B
  cudaDataType_t result;  // of D
  bool transpose_a, transpose_b;
  int64_t rows, columns, inner;
  int64_t stride_a, stride_b, stride_d;
  bool accumulate;
  bool bias;
  // Alignment of the addresses in bytes, at most 256.
  uint32_t alignment_a, alignment_b, alignment_d;

  auto operator<=>(const GemmShape&) const = default;
};

struct GemmPlan {
  bool by_lt = false;  // else cublasGemmEx and a separate pass for the bias; also if cublasLtMatmul refused it once
  LtDescription description;
  LtLayout a, b, d;
  cublasLtMatmulAlgo_t algorithm = {};
};

// Plans, handles and workspace of one context.
struct GemmPlans {
  LtHandle lt;
  BlasHandle blas;
  Memory workspace;
  size_t workspace_bytes = 0;
  std::map<GemmShape, GemmPlan> plans;
};

}  // namespace sigma::cuda
