// Overloads of BLAS routines for float and double.
#pragma once

#include <limits>

#include "contract/failure.h"
#include "cpu/gemm/blas_buffers.h"
#include "cpu/gemm/blas_library.h"

namespace sigma::cpu {

// BLAS and LAPACK use 32-bit integers.
inline int blas_int(int64_t value) {
  if (value < 0 || value > std::numeric_limits<int>::max()) {
    throw Failure(SIGMA_UNSUPPORTED,
                  "a dimension of " + std::to_string(value) + " exceeds the 32-bit integers of BLAS");
  }
  return static_cast<int>(value);
}

inline void blas_gemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k, const float* a, int lda,
                      const float* b, int ldb, float beta, float* c, int ldc) {
  const BlasCall call;
  cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, 1.0f, a, lda, b, ldb, beta, c, ldc);
}
inline void blas_gemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k, const double* a, int lda,
                      const double* b, int ldb, double beta, double* c, int ldc) {
  const BlasCall call;
  cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, 1.0, a, lda, b, ldb, beta, c, ldc);
}

// For column-major matrices, as in LAPACK: C (m, n) = α op(A) op(B) + β C, y = α op(A) x + β y.
#define SIGMA_BLAS(T, letter)                                                                                          \
  inline void gemm_by_columns(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k, T alpha, const T* a,        \
                              int lda, const T* b, int ldb, T beta, T* c, int ldc) {                                   \
    const BlasCall call;                                                                                               \
    cblas_##letter##gemm(CblasColMajor, ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);                         \
  }                                                                                                                    \
  inline void gemv_by_columns(CBLAS_TRANSPOSE ta, int m, int n, T alpha, const T* a, int lda, const T* x, int incx,    \
                              T beta, T* y) {                                                                          \
    const BlasCall call;                                                                                               \
    cblas_##letter##gemv(CblasColMajor, ta, m, n, alpha, a, lda, x, incx, beta, y, 1);                                 \
  }                                                                                                                    \
  /* The lower triangle of C (n, n) = α A Aᵀ + β C, or of α Aᵀ A + β C */                                      \
  inline void syrk_by_columns(CBLAS_TRANSPOSE ta, int n, int k, T alpha, const T* a, int lda, T beta, T* c, int ldc) { \
    const BlasCall call;                                                                                               \
    cblas_##letter##syrk(CblasColMajor, CblasLower, ta, n, k, alpha, a, lda, beta, c, ldc);                            \
  }                                                                                                                    \
  /* B (m, n) ← B L⁻ᵀ, with L (n, n) the lower triangle of a */                                                  \
  inline void solve_by_transposed_lower(int m, int n, const T* a, int lda, T* b, int ldb) {                            \
    const BlasCall call;                                                                                               \
    cblas_##letter##trsm(CblasColMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, m, n, 1, a, lda, b, ldb);    \
  }
SIGMA_BLAS(float, s)
SIGMA_BLAS(double, d)
#undef SIGMA_BLAS

}  // namespace sigma::cpu
