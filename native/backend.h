/*
 * The contract between the addon and a backend: plain C, no Node and no CUDA in sight.
 *
 * A backend fills one table of functions. A null entry means that the backend has no such operation; callers report
 * UNSUPPORTED. Matrices are row-major. No function aborts, exits or prints; each returns a status, and last_error()
 * then tells more. Sizes are trusted here: the addon has checked them against the memory behind every pointer.
 *
 * Unless a comment says "adds", outputs are overwritten. Outputs never overlap inputs, except where stated.
 */
#ifndef SIGMA_BACKEND_H
#define SIGMA_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SIGMA_ABI_VERSION 2

typedef enum sigma_status {
  SIGMA_OK = 0,
  SIGMA_INVALID_ARGUMENT,
  SIGMA_NON_FINITE,
  SIGMA_NOT_CONVERGED,
  SIGMA_OUT_OF_MEMORY,
  SIGMA_UNSUPPORTED,
  SIGMA_NATIVE
} sigma_status;

typedef enum sigma_dtype { SIGMA_FLOAT32 = 0, SIGMA_FLOAT64 = 1 } sigma_dtype;

typedef enum sigma_svd_driver {
  SIGMA_SVD_AUTO = 0,
  SIGMA_SVD_GESDD,
  SIGMA_SVD_GESVD,
  SIGMA_SVD_GESVDJ,
  SIGMA_SVD_GESVDP,
  SIGMA_SVD_GRAM64
} sigma_svd_driver;

/* What one environment owns on a backend: its scratch memory (and, on a device, its stream). Used by one thread. */
typedef struct sigma_context sigma_context;

/* A matrix in memory of the backend; row i starts at data + i * stride elements. */
typedef struct sigma_matrix {
  void* data;
  int64_t rows;
  int64_t columns;
  int64_t stride;
} sigma_matrix;

/*
 * Where the r x r matrix M may be non-zero, as CSR and once more by columns, so that M and its transpose are both
 * products that gather. Entry q of column j stands in slot transposed_slots[q] of the values.
 */
typedef struct sigma_pattern {
  int64_t size;                           /* r */
  int64_t entries;                        /* z */
  const int32_t* row_pointers;            /* (r + 1) */
  const int32_t* column_indices;          /* (z) */
  const int32_t* transposed_row_pointers; /* (r + 1) */
  const int32_t* transposed_indices;      /* (z) */
  const int32_t* transposed_slots;        /* (z) */
  /* Whether every row fills one run of columns, and these move right from row to row: then so do the transpose's. */
  int32_t banded;
} sigma_pattern;

/* The core C = diag(diagonal) + sigmoid(gate) * M of the adapter operator. */
typedef struct sigma_core {
  int64_t size;                 /* r */
  const void* diagonal;         /* (r), or null for zeros */
  const sigma_pattern* pattern; /* null for M = 0 */
  const void* values;           /* (z) in CSR order */
  const void* gate;             /* (1), or null: the factor is then 1 */
} sigma_core;

typedef struct sigma_svd_problem {
  const void* a; /* (m, n), dense rows */
  void* u;       /* (m, r), r = min(m, n) */
  void* s;       /* (r), descending */
  void* vt;      /* (r, n) */
  int64_t rows;
  int64_t columns;
} sigma_svd_problem;

typedef struct sigma_adamw {
  double lr, beta1, beta2, eps, weight_decay;
  int64_t step; /* 1 at the first */
} sigma_adamw;

typedef struct sigma_sgd {
  double lr, momentum, weight_decay;
  int32_t first; /* non-zero: the momentum buffer starts as the gradient */
} sigma_sgd;

typedef struct sigma_backend {
  uint32_t abi_version; /* SIGMA_ABI_VERSION */
  uint32_t struct_size; /* sizeof(sigma_backend): tells an older table from a newer one */
  const char* name;

  /* What the last failed call of this thread said. */
  const char* (*last_error)(void);
  /* The libraries and instruction sets in use, for a bug report; static text. */
  const char* (*blas)(void);
  const char* (*simd)(void);

  sigma_status (*create_context)(sigma_context** context);
  void (*destroy_context)(sigma_context* context);
  /* Threads that one call may use, for the whole process. */
  sigma_status (*set_threads)(int32_t count);
  int32_t (*threads)(void);

  /* Scratch memory, aligned to 64 bytes, valid until the next reserve on this context. */
  sigma_status (*reserve)(sigma_context* context, size_t bytes, void** memory);
  sigma_status (*copy)(sigma_context* context, void* to, const void* from, size_t bytes);

  /* C (m, n) = op(A) op(B) [+ C, where accumulate] [+ bias (n) on every row]. */
  sigma_status (*gemm)(sigma_context* context, sigma_dtype dtype, int32_t transpose_a, int32_t transpose_b,
                       const sigma_matrix* a, const sigma_matrix* b, int32_t accumulate, const void* bias,
                       const sigma_matrix* c);

  /* out (r, N) = C dense, or Cᵀ dense; dense (r, N). */
  sigma_status (*spmm)(sigma_context* context, sigma_dtype dtype, const sigma_core* core, int32_t transpose,
                       const sigma_matrix* dense, const sigma_matrix* out);
  /* samples[p] = Σ_t a[i_p, t] b[j_p, t]; a and b (r, N). The same bits for any number of threads. */
  sigma_status (*sddmm)(sigma_context* context, sigma_dtype dtype, const sigma_pattern* pattern, const sigma_matrix* a,
                        const sigma_matrix* b, void* samples);
  /* The rest of M's pull-back, where g = sigmoid(gate). Adds: dvalues[p] += g samples[p] and
   * dgate += g (1 - g) Σ_p values[p] samples[p]. Either may be null. */
  sigma_status (*core_gradient)(sigma_context* context, sigma_dtype dtype, const sigma_core* core, const void* samples,
                                void* dvalues, void* dgate);
  /* Adds: sums[i] += Σ_t a[i, t] b[i, t]; a and b (r, N). */
  sigma_status (*row_dots)(sigma_context* context, sigma_dtype dtype, const sigma_matrix* a, const sigma_matrix* b,
                           void* sums);
  /* Adds: sums[j] += Σ_t a[t, j]; a (N, n). */
  sigma_status (*column_sums)(sigma_context* context, sigma_dtype dtype, const sigma_matrix* a, void* sums);

  /* One step on `count` numbers, in place: parameter, and the moments m and v. */
  sigma_status (*adamw)(sigma_context* context, sigma_dtype dtype, const sigma_adamw* options, int64_t count,
                        void* parameter, const void* gradient, void* m, void* v);
  /* momentum_buffer is null where options->momentum is 0. */
  sigma_status (*sgd)(sigma_context* context, sigma_dtype dtype, const sigma_sgd* options, int64_t count,
                      void* parameter, const void* gradient, void* momentum_buffer);

  /* Thin SVDs, side by side. Called off the main thread, so it uses no context. On failure *failed is the index of
   * the first problem that has none. In each pair the entry of u with the largest magnitude is positive. */
  sigma_status (*svd)(sigma_dtype dtype, sigma_svd_driver driver, const sigma_svd_problem* problems, int64_t count,
                      int64_t* failed);
} sigma_backend;

/* The backend that is built into the addon. */
const sigma_backend* sigma_cpu_backend(void);

#ifdef __cplusplus
}
#endif

#endif
