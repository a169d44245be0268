// The BLAS and LAPACK routines that the backend calls, and what is particular to the library that has them: OpenBLAS,
// or Accelerate on macOS. Declared here, so that compiling needs no headers of theirs. Integers have 32 bits.
#pragma once

#include <cstddef>

// Accelerate has two LAPACKs. The new one, from macOS 13.3 on, has this suffix and no underscores.
#if defined(__APPLE__)
#define SIGMA_BLAS_NAME(name) __asm("_" #name "$NEWLAPACK")
#else
#define SIGMA_BLAS_NAME(name)
#endif

// CBLAS's enumerations, with CBLAS's values.
enum CBLAS_ORDER : int { CblasRowMajor = 101, CblasColMajor = 102 };
enum CBLAS_TRANSPOSE : int { CblasNoTrans = 111, CblasTrans = 112 };
enum CBLAS_UPLO : int { CblasLower = 122 };
enum CBLAS_DIAG : int { CblasNonUnit = 131 };
enum CBLAS_SIDE : int { CblasRight = 142 };

// The last arguments of LAPACK routines are the lengths of their text arguments.
#define SIGMA_DECLARE_BLAS(T, p)                                                                                      \
  void cblas_##p##gemm(CBLAS_ORDER order, CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, int m, int n, int k, T alpha,       \
                       const T* a, int lda, const T* b, int ldb, T beta, T* c, int ldc)                               \
      SIGMA_BLAS_NAME(cblas_##p##gemm);                                                                               \
  void cblas_##p##gemv(CBLAS_ORDER order, CBLAS_TRANSPOSE ta, int m, int n, T alpha, const T* a, int lda, const T* x, \
                       int incx, T beta, T* y, int incy) SIGMA_BLAS_NAME(cblas_##p##gemv);                            \
  void cblas_##p##trsm(CBLAS_ORDER order, CBLAS_SIDE side, CBLAS_UPLO uplo, CBLAS_TRANSPOSE ta, CBLAS_DIAG diag,      \
                       int m, int n, T alpha, const T* a, int lda, T* b, int ldb) SIGMA_BLAS_NAME(cblas_##p##trsm);   \
  void cblas_##p##syrk(CBLAS_ORDER order, CBLAS_UPLO uplo, CBLAS_TRANSPOSE trans, int n, int k, T alpha, const T* a,  \
                       int lda, T beta, T* c, int ldc) SIGMA_BLAS_NAME(cblas_##p##syrk);                              \
  void p##gesdd_(const char* jobz, const int* m, const int* n, T* a, const int* lda, T* s, T* u, const int* ldu,      \
                 T* vt, const int* ldvt, T* work, const int* lwork, int* iwork, int* info, size_t)                    \
      SIGMA_BLAS_NAME(p##gesdd);                                                                                      \
  void p##gesvd_(const char* jobu, const char* jobvt, const int* m, const int* n, T* a, const int* lda, T* s, T* u,   \
                 const int* ldu, T* vt, const int* ldvt, T* work, const int* lwork, int* info, size_t, size_t)        \
      SIGMA_BLAS_NAME(p##gesvd);                                                                                      \
  void p##bdsqr_(const char* uplo, const int* n, const int* ncvt, const int* nru, const int* ncc, T* d, T* e, T* vt,  \
                 const int* ldvt, T* u, const int* ldu, T* c, const int* ldc, T* work, int* info, size_t)             \
      SIGMA_BLAS_NAME(p##bdsqr);                                                                                      \
  void p##sytrd_(const char* uplo, const int* n, T* a, const int* lda, T* d, T* e, T* tau, T* work, const int* lwork, \
                 int* info, size_t) SIGMA_BLAS_NAME(p##sytrd);                                                        \
  void p##trtri_(const char* uplo, const char* diag, const int* n, T* a, const int* lda, int* info, size_t, size_t)   \
      SIGMA_BLAS_NAME(p##trtri);                                                                                      \
  void p##geqrf_(const int* m, const int* n, T* a, const int* lda, T* tau, T* work, const int* lwork, int* info)      \
      SIGMA_BLAS_NAME(p##geqrf);                                                                                      \
  void p##potrf_(const char* uplo, const int* n, T* a, const int* lda, int* info, size_t) SIGMA_BLAS_NAME(p##potrf);  \
  void p##larfg_(const int* n, T* alpha, T* x, const int* incx, T* tau) SIGMA_BLAS_NAME(p##larfg);

extern "C" {
SIGMA_DECLARE_BLAS(float, s)
SIGMA_DECLARE_BLAS(double, d)
}
#undef SIGMA_DECLARE_BLAS
#undef SIGMA_BLAS_NAME

namespace sigma::cpu {

// The library's name, and its version and options if it tells them.
const char* blas_text();

// Keeps the library from starting threads of its own, which would compete with the pool's.
void use_one_blas_thread();

// Has the library use the processor's instructions also if it does not know the processor. Call it before any routine.
void use_fast_kernels();

}  // namespace sigma::cpu
