// The operations of the CUDA backend, one file each; they throw, backend.cc turns that into statuses. Equations and
// shapes stand in backend.h. All but svd queue their work on the context's stream and return.
#pragma once

#include "backend.h"
#include "context.h"

namespace sigma::cuda {

void gemm(sigma_context& context, sigma_dtype dtype, bool transpose_a, bool transpose_b, const sigma_matrix& a,
          const sigma_matrix& b, bool accumulate, const void* bias, const sigma_matrix& c);

void spmm(sigma_context& context, sigma_dtype dtype, const sigma_core& core, bool transpose, const sigma_matrix& dense,
          const sigma_matrix& out);
void sddmm(sigma_context& context, sigma_dtype dtype, const sigma_pattern& pattern, const sigma_matrix& a,
           const sigma_matrix& b, void* samples);
void core_gradient(sigma_context& context, sigma_dtype dtype, const sigma_core& core, const void* samples,
                   void* dvalues, void* dgate);

void row_dots(sigma_context& context, sigma_dtype dtype, const sigma_matrix& a, const sigma_matrix& b, const void* mask,
              void* sums);
void column_sums(sigma_context& context, sigma_dtype dtype, const sigma_matrix& a, void* sums);

void cast(sigma_context& context, sigma_dtype from_dtype, sigma_dtype to_dtype, int64_t count, const void* from,
          void* to);

void adamw(sigma_context& context, sigma_dtype dtype, const sigma_adamw& options, int64_t count, void* parameter,
           const void* gradient, void* m, void* v);
void sgd(sigma_context& context, sigma_dtype dtype, const sigma_sgd& options, int64_t count, void* parameter,
         const void* gradient, void* momentum_buffer);

void svd(sigma_context& context, sigma_dtype dtype, sigma_svd_driver driver, const sigma_svd_problem* problems,
         int64_t count, int64_t* failed);

}  // namespace sigma::cuda
