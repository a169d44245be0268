// LAPACK routines for float and double under one name. Matrices are column-major. An int result is info.
#pragma once

#include <lapack.h>

#include "cpu/gemm/blas_buffers.h"

namespace sigma::cpu {

template <class T>
struct Lapack;

#define SIGMA_LAPACK(T, letter)                                                                                  \
  template <>                                                                                                    \
  struct Lapack<T> {                                                                                             \
    static int gesdd(int m, int n, T* a, T* s, T* u, int ldu, T* vt, int ldvt, T* work, int lwork, int* iwork) { \
      int info = 0;                                                                                              \
      const BlasCall call;                                                                                       \
      LAPACK_##letter##gesdd("S", &m, &n, a, &m, s, u, &ldu, vt, &ldvt, work, &lwork, iwork, &info);             \
      return info;                                                                                               \
    }                                                                                                            \
    static int gesvd(int m, int n, T* a, T* s, T* u, int ldu, T* vt, int ldvt, T* work, int lwork) {             \
      int info = 0;                                                                                              \
      const BlasCall call;                                                                                       \
      LAPACK_##letter##gesvd("S", "S", &m, &n, a, &m, s, u, &ldu, vt, &ldvt, work, &lwork, &info);               \
      return info;                                                                                               \
    }                                                                                                            \
    static void larfg(int n, T* alpha, T* x, T* tau) {                                                           \
      const int one = 1;                                                                                         \
      LAPACK_##letter##larfg(&n, alpha, x, &one, tau);                                                           \
    }                                                                                                            \
    static int trtri(const char* uplo, const char* diag, int n, T* a, int lda) {                                 \
      int info = 0;                                                                                              \
      const BlasCall call;                                                                                       \
      LAPACK_##letter##trtri(uplo, diag, &n, a, &lda, &info);                                                    \
      return info;                                                                                               \
    }                                                                                                            \
    static int bdsdc(const char* uplo, int n, T* d, T* e, T* u, int ldu, T* vt, int ldvt, T* work, int* iwork) { \
      int info = 0;                                                                                              \
      T q = 0;                                                                                                   \
      int iq = 0;                                                                                                \
      const BlasCall call;                                                                                       \
      LAPACK_##letter##bdsdc(uplo, "I", &n, d, e, u, &ldu, vt, &ldvt, &q, &iq, work, iwork, &info);              \
      return info;                                                                                               \
    }                                                                                                            \
    static int geqrf(int m, int n, T* a, int lda, T* tau, T* work, int lwork) {                                  \
      int info = 0;                                                                                              \
      const BlasCall call;                                                                                       \
      LAPACK_##letter##geqrf(&m, &n, a, &lda, tau, work, &lwork, &info);                                         \
      return info;                                                                                               \
    }                                                                                                            \
    static int potrf(const char* uplo, int n, T* a, int lda) {                                                   \
      int info = 0;                                                                                              \
      const BlasCall call;                                                                                       \
      LAPACK_##letter##potrf(uplo, &n, a, &lda, &info);                                                          \
      return info;                                                                                               \
    }                                                                                                            \
  };
SIGMA_LAPACK(float, s)
SIGMA_LAPACK(double, d)
#undef SIGMA_LAPACK

}  // namespace sigma::cpu
