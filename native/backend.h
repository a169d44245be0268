/*
 * The contract between the addon and a backend: plain C, no Node and no CUDA in sight.
 *
 * A backend fills one table of functions. A null entry means that the backend has no such operation; callers report
 * UNSUPPORTED. Matrices are row-major. No function aborts, exits or prints; each returns a status, and last_error()
 * then tells more. Sizes are trusted here: the addon has checked them against the memory behind every pointer.
 *
 * Unless a comment says "adds", outputs are overwritten. Outputs never overlap inputs, except where stated. A call that
 * adds adds everything, or nothing if it finds no memory; row_dots and column_sums do without memory of their own.
 *
 * On a device every pointer to numbers or indices is to memory of the context's device, unless a comment says "host".
 * Calls queue their work in the order in which they are made and return before it is done: a failure of the device
 * itself may show only at a later call that waits (`download`, `synchronize`, `svd`), whose text names what was queued.
 */
#ifndef SIGMA_BACKEND_H
#define SIGMA_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SIGMA_ABI_VERSION 3

typedef enum sigma_status {
  SIGMA_OK = 0,
  SIGMA_INVALID_ARGUMENT,
  SIGMA_NON_FINITE,
  SIGMA_NOT_CONVERGED,
  SIGMA_OUT_OF_MEMORY,
  SIGMA_UNSUPPORTED,
  SIGMA_NATIVE
} sigma_status;

/*
 * What the matrices of a call hold. The vectors of a call (a core's diagonal, values and gate, biases, samples, sums)
 * have the same type, but float32 beside bfloat16 matrices.
 */
typedef enum sigma_dtype { SIGMA_FLOAT32 = 0, SIGMA_FLOAT64 = 1, SIGMA_BFLOAT16 = 2 } sigma_dtype;

typedef enum sigma_svd_driver {
  SIGMA_SVD_AUTO = 0,
  SIGMA_SVD_GESDD,
  SIGMA_SVD_GESVD,
  SIGMA_SVD_GESVDJ,
  SIGMA_SVD_GESVDP,
  SIGMA_SVD_GRAM64
} sigma_svd_driver;

/*
 * What one environment owns on one device of a backend: its scratch memory, and the queue of its work. Used by one
 * thread, but for the functions that say otherwise.
 */
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
  int32_t lower, upper; /* of a band: the most that a column lies left and right of its row; 0 otherwise */
} sigma_pattern;

/* The core C = diag(d) + sigmoid(gate) * M of the adapter operator, where d = [max(0, diagonal)] [- origin]. */
typedef struct sigma_core {
  int64_t size;                 /* r */
  const void* diagonal;         /* (r), or null: then d = 0 */
  const void* origin;           /* (r), or null */
  int32_t rectified;            /* whether max(0, diagonal) stands in the diagonal's place */
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

typedef struct sigma_device {
  char name[256];
  uint64_t memory_bytes;
  int32_t capability_major, capability_minor;
} sigma_device;

typedef struct sigma_backend {
  uint32_t abi_version; /* SIGMA_ABI_VERSION */
  uint32_t struct_size; /* sizeof(sigma_backend): tells an older table from a newer one */
  const char* name;
  int32_t simulated; /* whether a host program stands in for the device: for tests only */

  /* What the last failed call of this thread said. */
  const char* (*last_error)(void);
  /* The libraries and instruction sets in use, for a bug report; static text. */
  const char* (*blas)(void);
  const char* (*simd)(void);

  /* Devices are counted from 0. The CPU is one device. */
  int32_t (*device_count)(void);
  sigma_status (*device_info)(int32_t device, sigma_device* info);

  sigma_status (*create_context)(int32_t device, sigma_context** context);
  /* Waits for what is queued. */
  void (*destroy_context)(sigma_context* context);
  /* Threads that one call may use, for the whole process. */
  sigma_status (*set_threads)(int32_t count);
  int32_t (*threads)(void);

  /* Scratch memory, aligned to 64 bytes, valid until the next reserve on this context. */
  sigma_status (*reserve)(sigma_context* context, size_t bytes, void** memory);

  /* Memory of the device, aligned to 256 bytes. Null on the CPU, whose operands are JavaScript's. */
  sigma_status (*allocate)(sigma_context* context, size_t bytes, void** memory);
  /* Once the work queued so far is done. */
  void (*release)(sigma_context* context, void* memory);
  /* `from` is on the host; it may be written again when this returns. */
  sigma_status (*upload)(sigma_context* context, void* to, const void* from, size_t bytes);
  /* `to` is on the host. Waits for the work queued so far. May be called from any thread. */
  sigma_status (*download)(sigma_context* context, void* to, const void* from, size_t bytes);
  /* Waits for the work queued so far, and reports its failures. May be called from any thread. */
  sigma_status (*synchronize)(sigma_context* context);

  /* The device's own clock: start_timer queues a mark, stop_timer another, waits for it and gives the milliseconds that
   * the work between them took. */
  sigma_status (*start_timer)(sigma_context* context);
  sigma_status (*stop_timer)(sigma_context* context, double* milliseconds);

  sigma_status (*copy)(sigma_context* context, void* to, const void* from, size_t bytes);
  sigma_status (*zero)(sigma_context* context, void* memory, size_t bytes);
  /* to = from, both (m, n), row by row. */
  sigma_status (*copy_matrix)(sigma_context* context, sigma_dtype dtype, const sigma_matrix* from,
                              const sigma_matrix* to);
  /* Numbers of one type in another; to bfloat16 they are rounded to the nearest, ties to even. Null on the CPU. */
  sigma_status (*cast)(sigma_context* context, sigma_dtype from_dtype, sigma_dtype to_dtype, int64_t count,
                       const void* from, void* to);

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
  /* Adds: sums[i] += Σ_t a[i, t] b[i, t]; a and b (r, N). Where `mask` (r) is given, only to rows with mask[i] > 0. */
  sigma_status (*row_dots)(sigma_context* context, sigma_dtype dtype, const sigma_matrix* a, const sigma_matrix* b,
                           const void* mask, void* sums);
  /* Adds: sums[j] += Σ_t a[t, j]; a (N, n). */
  sigma_status (*column_sums)(sigma_context* context, sigma_dtype dtype, const sigma_matrix* a, void* sums);

  /* One step on `count` numbers, in place: parameter, the mean m of gradients, and v, the root of the mean of their
   * squares. */
  sigma_status (*adamw)(sigma_context* context, sigma_dtype dtype, const sigma_adamw* options, int64_t count,
                        void* parameter, const void* gradient, void* m, void* v);
  /* momentum_buffer is null where options->momentum is 0. */
  sigma_status (*sgd)(sigma_context* context, sigma_dtype dtype, const sigma_sgd* options, int64_t count,
                      void* parameter, const void* gradient, void* momentum_buffer);

  /* Thin SVDs, side by side, in float32 or float64; `problems` is on the host. Called from any thread while the
   * context's own goes on: it waits for the work queued before it, and has finished when it returns. On failure *failed
   * is the index of the first problem that has none. In each pair of singular vectors the first
   * entry of u whose magnitude is at least 1 - 1/2048 of the largest is positive (svd_limits.h). */
  sigma_status (*svd)(sigma_context* context, sigma_dtype dtype, sigma_svd_driver driver,
                      const sigma_svd_problem* problems, int64_t count, int64_t* failed);
} sigma_backend;

/* The backend that is built into the addon. */
const sigma_backend* sigma_cpu_backend(void);

/* Why a backend in a library of its own can or cannot be used. */
typedef enum sigma_reason {
  SIGMA_AVAILABLE = 0,
  SIGMA_ABI_MISMATCH,
  SIGMA_NO_DRIVER,
  SIGMA_DRIVER_TOO_OLD,
  SIGMA_NO_DEVICE,
  SIGMA_NO_LIBRARY
} sigma_reason;

typedef struct sigma_probe {
  sigma_reason reason;
  const sigma_backend* backend; /* null unless available */
  char detail[512];             /* one sentence that helps */
  char searched[8192];          /* what was tried, a line each */
} sigma_probe;

/* The one symbol that such a library exports, under this name. Called once; prints nothing, changes nothing where the
 * version is not its own. The library is never closed. */
#define SIGMA_OPEN_BACKEND "sigma_open_backend"
typedef void (*sigma_open_backend_function)(uint32_t abi_version, sigma_probe* probe);

#ifdef __cplusplus
}
#endif

#endif
