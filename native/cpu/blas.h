// BLAS and LAPACK by type: the same name for float and double.
#pragma once

#include <cblas.h>
#include <lapack.h>

namespace sigma::cpu {

inline void blas_gemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k, const float* a, int lda,
                      const float* b, int ldb, float beta, float* c, int ldc) {
  cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, 1.0f, a, lda, b, ldb, beta, c, ldc);
}
inline void blas_gemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k, const double* a, int lda,
                      const double* b, int ldb, double beta, double* c, int ldc) {
  cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, 1.0, a, lda, b, ldb, beta, c, ldc);
}

inline int lapack_gesdd(int m, int n, float* a, float* s, float* u, int ldu, float* vt, int ldvt, float* work,
                        int lwork, int* iwork) {
  int info = 0;
  LAPACK_sgesdd("S", &m, &n, a, &m, s, u, &ldu, vt, &ldvt, work, &lwork, iwork, &info);
  return info;
}
inline int lapack_gesdd(int m, int n, double* a, double* s, double* u, int ldu, double* vt, int ldvt, double* work,
                        int lwork, int* iwork) {
  int info = 0;
  LAPACK_dgesdd("S", &m, &n, a, &m, s, u, &ldu, vt, &ldvt, work, &lwork, iwork, &info);
  return info;
}

inline int lapack_gesvd(int m, int n, float* a, float* s, float* u, int ldu, float* vt, int ldvt, float* work,
                        int lwork) {
  int info = 0;
  LAPACK_sgesvd("S", "S", &m, &n, a, &m, s, u, &ldu, vt, &ldvt, work, &lwork, &info);
  return info;
}
inline int lapack_gesvd(int m, int n, double* a, double* s, double* u, int ldu, double* vt, int ldvt, double* work,
                        int lwork) {
  int info = 0;
  LAPACK_dgesvd("S", "S", &m, &n, a, &m, s, u, &ldu, vt, &ldvt, work, &lwork, &info);
  return info;
}

}  // namespace sigma::cpu
