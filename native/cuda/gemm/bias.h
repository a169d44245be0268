#pragma once

#include "contract/backend.h"
#include "cuda/runtime/context.h"

namespace sigma::cuda {

// c (rows, columns) += bias (columns) on every row. The bias of a bfloat16 matrix is float32.
void add_bias(sigma_context& context, const sigma_matrix& c, const void* bias);

}  // namespace sigma::cuda
