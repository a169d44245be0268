// LAPACK by type: the same names for float and double. Matrices are column-major here; each call returns LAPACK's info.
#pragma once

#include <lapack.h>

namespace sigma::cpu {

template <class T>
struct Lapack;

#define SIGMA_LAPACK(T, letter)                                                                                       \
  template <>                                                                                                         \
  struct Lapack<T> {                                                                                                  \
    static int gesdd(int m, int n, T* a, T* s, T* u, int ldu, T* vt, int ldvt, T* work, int lwork, int* iwork) {      \
      int info = 0;                                                                                                   \
      LAPACK_##letter##gesdd("S", &m, &n, a, &m, s, u, &ldu, vt, &ldvt, work, &lwork, iwork, &info);                  \
      return info;                                                                                                    \
    }                                                                                                                 \
    static int gesvd(int m, int n, T* a, T* s, T* u, int ldu, T* vt, int ldvt, T* work, int lwork) {                  \
      int info = 0;                                                                                                   \
      LAPACK_##letter##gesvd("S", "S", &m, &n, a, &m, s, u, &ldu, vt, &ldvt, work, &lwork, &info);                    \
      return info;                                                                                                    \
    }                                                                                                                 \
    static int gebrd(int m, int n, T* a, int lda, T* d, T* e, T* tauq, T* taup, T* work, int lwork) {                 \
      int info = 0;                                                                                                   \
      LAPACK_##letter##gebrd(&m, &n, a, &lda, d, e, tauq, taup, work, &lwork, &info);                                 \
      return info;                                                                                                    \
    }                                                                                                                 \
    static int bdsdc(const char* uplo, int n, T* d, T* e, T* u, int ldu, T* vt, int ldvt, T* work, int* iwork) {      \
      int info = 0;                                                                                                   \
      T q = 0;                                                                                                        \
      int iq = 0;                                                                                                     \
      LAPACK_##letter##bdsdc(uplo, "I", &n, d, e, u, &ldu, vt, &ldvt, &q, &iq, work, iwork, &info);                   \
      return info;                                                                                                    \
    }                                                                                                                 \
    static int ormbr(const char* vect, const char* side, const char* trans, int m, int n, int k, const T* a, int lda, \
                     const T* tau, T* c, int ldc, T* work, int lwork) {                                               \
      int info = 0;                                                                                                   \
      LAPACK_##letter##ormbr(vect, side, trans, &m, &n, &k, a, &lda, tau, c, &ldc, work, &lwork, &info);              \
      return info;                                                                                                    \
    }                                                                                                                 \
    static int geqrf(int m, int n, T* a, int lda, T* tau, T* work, int lwork) {                                       \
      int info = 0;                                                                                                   \
      LAPACK_##letter##geqrf(&m, &n, a, &lda, tau, work, &lwork, &info);                                              \
      return info;                                                                                                    \
    }                                                                                                                 \
    static int gelqf(int m, int n, T* a, int lda, T* tau, T* work, int lwork) {                                       \
      int info = 0;                                                                                                   \
      LAPACK_##letter##gelqf(&m, &n, a, &lda, tau, work, &lwork, &info);                                              \
      return info;                                                                                                    \
    }                                                                                                                 \
    static int ormqr(const char* side, const char* trans, int m, int n, int k, const T* a, int lda, const T* tau,     \
                     T* c, int ldc, T* work, int lwork) {                                                             \
      int info = 0;                                                                                                   \
      LAPACK_##letter##ormqr(side, trans, &m, &n, &k, a, &lda, tau, c, &ldc, work, &lwork, &info);                    \
      return info;                                                                                                    \
    }                                                                                                                 \
    static int ormlq(const char* side, const char* trans, int m, int n, int k, const T* a, int lda, const T* tau,     \
                     T* c, int ldc, T* work, int lwork) {                                                             \
      int info = 0;                                                                                                   \
      LAPACK_##letter##ormlq(side, trans, &m, &n, &k, a, &lda, tau, c, &ldc, work, &lwork, &info);                    \
      return info;                                                                                                    \
    }                                                                                                                 \
  };
SIGMA_LAPACK(float, s)
SIGMA_LAPACK(double, d)
#undef SIGMA_LAPACK

}  // namespace sigma::cpu
