#pragma once

#include "backend.h"
#include "context.h"

namespace sigma::cuda {

// c (rows, columns) += bias (columns) on every row; beside bfloat16 the bias is float32.
void add_bias(sigma_context& context, sigma_dtype dtype, const sigma_matrix& c, const void* bias);

}  // namespace sigma::cuda
