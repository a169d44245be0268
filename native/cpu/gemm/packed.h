#pragma once

#include "contract/backend.h"

namespace sigma::cpu {

// A product with matrices of a type that BLAS does not know, in blocks that are packed as float32 or bfloat16. Sums are
// float32, in the order of k, so the result does not depend on the blocks, on threads, or on the memory there is.
void multiply_packed(const sigma_gemm& call);

}  // namespace sigma::cpu
