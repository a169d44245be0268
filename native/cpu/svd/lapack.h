// LAPACK routines for float and double under one name. Matrices are column-major. An int result is info.
#pragma once

#include <cmath>

#include "cpu/gemm/blas_buffers.h"
#include "cpu/gemm/blas_library.h"
#include "cpu/runtime/columns.h"

namespace sigma::cpu {

template <class T>
struct Lapack;

#define SIGMA_LAPACK(T, letter)                                                                                  \
  template <>                                                                                                    \
  struct Lapack<T> {                                                                                             \
    static int gesdd(int m, int n, T* a, T* s, T* u, int ldu, T* vt, int ldvt, T* work, int lwork, int* iwork) { \
      int info = 0;                                                                                              \
      const BlasCall call;                                                                                       \
      letter##gesdd_("S", &m, &n, a, &m, s, u, &ldu, vt, &ldvt, work, &lwork, iwork, &info, 1);                  \
      return info;                                                                                               \
    }                                                                                                            \
    static int gesvd(int m, int n, T* a, T* s, T* u, int ldu, T* vt, int ldvt, T* work, int lwork) {             \
      int info = 0;                                                                                              \
      const BlasCall call;                                                                                       \
      letter##gesvd_("S", "S", &m, &n, a, &m, s, u, &ldu, vt, &ldvt, work, &lwork, &info, 1, 1);                 \
      return info;                                                                                               \
    }                                                                                                            \
    static void larfg(int n, T* alpha, T* x, T* tau) {                                                           \
      const int one = 1;                                                                                         \
      letter##larfg_(&n, alpha, x, &one, tau);                                                                   \
    }                                                                                                            \
    static int trtri(const char* uplo, const char* diag, int n, T* a, int lda) {                                 \
      int info = 0;                                                                                              \
      const BlasCall call;                                                                                       \
      letter##trtri_(uplo, diag, &n, a, &lda, &info, 1, 1);                                                      \
      return info;                                                                                               \
    }                                                                                                            \
    static int bdsqr(const char* uplo, int n, int ncvt, int nru, T* d, T* e, T* vt, int ldvt, T* u, int ldu,     \
                     T* work) {                                                                                  \
      const int none = 0, one = 1;                                                                               \
      int info = 0;                                                                                              \
      const BlasCall call;                                                                                       \
      letter##bdsqr_(uplo, &n, &ncvt, &nru, &none, d, e, vt, &ldvt, u, &ldu, nullptr, &one, work, &info, 1);     \
      return info;                                                                                               \
    }                                                                                                            \
    static int sytrd(const char* uplo, int n, T* a, int lda, T* d, T* e, T* tau, T* work, int lwork) {           \
      int info = 0;                                                                                              \
      const BlasCall call;                                                                                       \
      letter##sytrd_(uplo, &n, a, &lda, d, e, tau, work, &lwork, &info, 1);                                      \
      return info;                                                                                               \
    }                                                                                                            \
    static int geqrf(int m, int n, T* a, int lda, T* tau, T* work, int lwork) {                                  \
      int info = 0;                                                                                              \
      const BlasCall call;                                                                                       \
      letter##geqrf_(&m, &n, a, &lda, tau, work, &lwork, &info);                                                 \
      return info;                                                                                               \
    }                                                                                                            \
    static int potrf(const char* uplo, int n, T* a, int lda) {                                                   \
      int info = 0;                                                                                              \
      const BlasCall call;                                                                                       \
      letter##potrf_(uplo, &n, a, &lda, &info, 1);                                                               \
      return info;                                                                                               \
    }                                                                                                            \
  };
SIGMA_LAPACK(float, s)
SIGMA_LAPACK(double, d)
#undef SIGMA_LAPACK

// The Cholesky factor of a symmetric matrix, in the triangle of which `uplo` names the place. Returns false if the
// matrix is not positive definite, or if the factor is not finite: OpenBLAS does not see a NaN.
template <class T>
bool cholesky(const char* uplo, const Columns<T>& a) {
  if (Lapack<T>::potrf(uplo, a.columns, a.data, /* lda = */ a.stride) != 0) return false;
  for (int j = 0; j < a.columns; ++j) {
    if (!std::isfinite(*a.at(j, j))) return false;
  }
  return true;
}

}  // namespace sigma::cpu
