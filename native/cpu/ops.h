// The operations of the CPU backend, one file each; they throw, backend.cc turns that into statuses.
// Equations and shapes stand in backend.h.
#pragma once

#include "backend.h"

namespace sigma::cpu {

template <class T>
void gemm(bool transpose_a, bool transpose_b, const sigma_matrix& a, const sigma_matrix& b, bool accumulate,
          const T* bias, const sigma_matrix& c);

template <class T>
void spmm(const sigma_core& core, bool transpose, const sigma_matrix& dense, const sigma_matrix& out);
template <class T>
void sddmm(const sigma_pattern& pattern, const sigma_matrix& a, const sigma_matrix& b, T* samples);
template <class T>
void core_gradient(const sigma_core& core, const T* samples, T* dvalues, T* dgate);

template <class T>
void row_dots(const sigma_matrix& a, const sigma_matrix& b, const T* mask, T* sums);
template <class T>
void column_sums(const sigma_matrix& a, T* sums);

template <class T>
void adamw(const sigma_adamw& options, int64_t count, T* parameter, const T* gradient, T* m, T* v);
template <class T>
void sgd(const sigma_sgd& options, int64_t count, T* parameter, const T* gradient, T* momentum_buffer);

template <class T>
void svd(sigma_svd_driver driver, const sigma_svd_problem* problems, int64_t count, int64_t* failed);

}  // namespace sigma::cpu
