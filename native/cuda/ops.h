// The operations of the CUDA backend, one file each. They throw; backend.cc turns exceptions into statuses. Equations
// and shapes are in contract/backend.h. All except svd queue their work on the context's stream and return.
#pragma once

#include "contract/backend.h"
#include "cuda/runtime/context.h"

namespace sigma::cuda {

#define SIGMA_DECLARE(operation) void operation(sigma_context& context, const sigma_##operation& call);
SIGMA_OPERATIONS(SIGMA_DECLARE)
#undef SIGMA_DECLARE

// Many steps at once, with few launches: one for all tensors with the same hyperparameters.
void adamw_each(sigma_context& context, const sigma_adamw* calls, int64_t count);
void sgd_each(sigma_context& context, const sigma_sgd* calls, int64_t count);

// The table's entries of these names.
double norm(sigma_context& context, sigma_real real, const sigma_vector* vectors, int64_t count);
void scale(sigma_context& context, sigma_real real, const sigma_vector* vectors, int64_t count, double factor);

}  // namespace sigma::cuda
