/*
 * The C interface between the addon and a backend. It depends on neither Node nor CUDA.
 *
 * A backend fills one table of functions: some for the device itself, and one for each operation in SIGMA_OPERATIONS.
 * An operation takes one struct, which has the operation's name. `supports` tells which types are implemented; a call
 * with other types returns SIGMA_UNSUPPORTED. Matrices are row-major. No function aborts, exits or prints: each returns
 * a status, and last_error() returns the message. A backend does not check sizes: the addon has checked them.
 *
 * Outputs are overwritten, unless a comment says "adds". Outputs never overlap inputs, unless stated. A call that runs
 * out of memory adds nothing at all; row_dots and column_sums never run out of memory.
 *
 * On a device, numbers and indices are in the memory of the context's device, unless a comment says "host". Calls queue
 * their work in call order and return before the work is done. A device failure may show only in a later call that
 * waits (`download`, `synchronize`, `svd`); the message of that call names the queued operations.
 */
#ifndef SIGMA_CONTRACT_BACKEND_H
#define SIGMA_CONTRACT_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SIGMA_ABI_VERSION 9

typedef enum sigma_status {
  SIGMA_OK = 0,
  SIGMA_INVALID_ARGUMENT,
  SIGMA_NON_FINITE,
  SIGMA_NOT_CONVERGED,
  SIGMA_OUT_OF_MEMORY,
  SIGMA_UNSUPPORTED,
  SIGMA_NATIVE
} sigma_status;

/* Element type of a matrix. The matrices of one call may have different types. */
typedef enum sigma_dtype {
  SIGMA_FLOAT32 = 0,
  SIGMA_FLOAT64 = 1,
  SIGMA_BFLOAT16 = 2,
  SIGMA_INT8 = 3,
  SIGMA_FLOAT16 = 4
} sigma_dtype;

/*
 * Element type of the vectors of a call (a core's diagonal, values and gate, biases, samples, sums, parameters), and
 * the least precision of its sums.
 */
typedef enum sigma_real { SIGMA_REAL32 = 0, SIGMA_REAL64 = 1 } sigma_real;

/*
 * Length of a run of consecutive numbers in a row of an int8 matrix that share one scale: entry (i, j) is code (i, j)
 * times scale (i, j / SIGMA_SCALE_GROUP).
 */
#define SIGMA_SCALE_GROUP 64

typedef enum sigma_svd_driver {
  SIGMA_SVD_AUTO = 0,
  SIGMA_SVD_GESDD,
  SIGMA_SVD_GESVD,
  SIGMA_SVD_GESVDJ,
  SIGMA_SVD_GESVDP,
  SIGMA_SVD_GRAM64
} sigma_svd_driver;

/*
 * The state of one environment on one device of a backend: scratch memory and the work queue. Only one thread may use a
 * context, except in the functions that say otherwise.
 */
typedef struct sigma_context sigma_context;

/*
 * A matrix in memory of the backend; row i starts at data + i * stride elements. Row i of the scales of an int8 matrix
 * starts at scales + i * ceil(stride / SIGMA_SCALE_GROUP), and its first column begins a group. Only `cast` and a
 * factor of `gemm` may be int8; without scales it is SIGMA_UNSUPPORTED.
 */
typedef struct sigma_matrix {
  void* data;
  int64_t rows;
  int64_t columns;
  int64_t stride;
  sigma_dtype dtype;
  float* scales; /* of an int8 matrix; null otherwise */
} sigma_matrix;

/*
 * Sparsity pattern of the r x r matrix M, as the CSR of M and the CSR of its transpose, so that products with either
 * one gather. The value of the transpose's entry q is values[transposed_slots[q]].
 */
typedef struct sigma_pattern {
  int64_t size;                           /* r */
  int64_t entries;                        /* z */
  const int32_t* row_pointers;            /* (r + 1) */
  const int32_t* column_indices;          /* (z) */
  const int32_t* transposed_row_pointers; /* (r + 1) */
  const int32_t* transposed_indices;      /* (z) */
  const int32_t* transposed_slots;        /* (z) */
  /* Whether each row is one run of columns, and neither end moves left from row to row. The transpose is then alike. */
  int32_t banded;
  int32_t lower, upper; /* bandwidths left and right of the diagonal; 0 if not banded */
} sigma_pattern;

/*
 * The core C = diag(d) + sigmoid(gate) * M of the adapter operator. d = diagonal [+ offset] [- origin], or
 * max(0, diagonal [+ offset]) [- origin] if `rectified`.
 */
typedef struct sigma_core {
  int64_t size;                 /* r */
  const void* diagonal;         /* (r), or null: then d = 0 */
  const void* offset;           /* (r), or null */
  const void* origin;           /* (r), or null */
  int32_t rectified;            /* a flag */
  const sigma_pattern* pattern; /* null for M = 0 */
  const void* values;           /* (z) in CSR order */
  const void* gate;             /* (1), or null: the factor is then 1 */
} sigma_core;

/* ── The operations ── */

/* to = from: (m, n) of one type. */
typedef struct sigma_copy_matrix {
  sigma_matrix from, to;
} sigma_copy_matrix;

/*
 * to = from: (m, n) of two types. Neither has padding, unless one is int8. Rounds to 16 bits to nearest, ties to even.
 * To int8, the largest magnitude of a group becomes 127; a group that would need a subnormal scale becomes 0, and one
 * with NaN or Infinity is SIGMA_NON_FINITE.
 */
typedef struct sigma_cast {
  sigma_matrix from, to;
} sigma_cast;

/*
 * c (m, n) = op(a) op(b) [+ c if accumulate] [+ bias (n) on every row]. a and b have c's type, or are int8. Or both
 * have one type of 16 bits, and c is float32.
 */
typedef struct sigma_gemm {
  sigma_real real;
  int32_t transpose_a, transpose_b, accumulate;
  sigma_matrix a, b, c;
  const void* bias; /* (n), or null */
} sigma_gemm;

/* out (r, N) = C dense, or Cᵀ dense; dense (r, N). */
typedef struct sigma_spmm {
  sigma_real real;
  int32_t transpose;
  const sigma_core* core;
  sigma_matrix dense, out;
} sigma_spmm;

/* samples[p] = Σ_t a[i_p, t] b[j_p, t]; a and b (r, N). The same bits for any number of threads. */
typedef struct sigma_sddmm {
  sigma_real real;
  const sigma_pattern* pattern;
  sigma_matrix a, b;
  void* samples; /* (z) */
} sigma_sddmm;

/* Gradients of M's values and of the gate. Adds: dvalues[p] += g samples[p] and
 * dgate += g (1 - g) Σ_p values[p] samples[p], g = sigmoid(gate). Either may be null. Overwrites what is `fresh`. */
typedef struct sigma_core_gradient {
  sigma_real real;
  const sigma_core* core;
  const void* samples;              /* (z) */
  void* dvalues;                    /* (z) */
  void* dgate;                      /* (1) */
  int32_t fresh_values, fresh_gate; /* flags: the memory is uninitialised, and counts as zeros; for what is not null */
} sigma_core_gradient;

/*
 * Adds: sums[i] += Σ_t a[i, t] b[i, t]; a and b (r, N). If `mask` is given, adds only in rows with
 * mask[i] [+ offset[i]] > 0. Overwrites all sums if they are `fresh`.
 */
typedef struct sigma_row_dots {
  sigma_real real;
  sigma_matrix a, b;
  const void* mask;   /* (r), or null */
  const void* offset; /* (r), or null; only with a mask */
  void* sums;         /* (r) */
  int32_t fresh;      /* a flag: the sums are uninitialised, and count as zeros */
} sigma_row_dots;

/* Adds: sums[j] += Σ_t a[t, j]; a (N, n). Overwrites the sums if they are `fresh`. */
typedef struct sigma_column_sums {
  sigma_real real;
  sigma_matrix a;
  void* sums;    /* (n) */
  int32_t fresh; /* a flag, as in sigma_row_dots */
} sigma_column_sums;

/*
 * All gradients of one layer's vectors: these four calls, in this order. Skips `samples` and `core` if samples.samples
 * is null, and a sum whose `sums` are null. The samples are scratch memory: a device may leave them unwritten. Runs out
 * of memory only before it adds anything.
 */
typedef struct sigma_layer_gradients {
  sigma_sddmm samples;
  sigma_core_gradient core; /* from samples.samples */
  sigma_row_dots diagonal;
  sigma_column_sums bias;
} sigma_layer_gradients;

/* One AdamW step on `count` numbers, in place. m is the first moment, v the square root of the second moment. */
typedef struct sigma_adamw {
  sigma_real real;
  double lr, beta1, beta2, eps, weight_decay;
  int64_t step; /* counts from 1 */
  int64_t count;
  void* parameter;
  const void* gradient;
  void *m, *v;
} sigma_adamw;

/* One SGD step on `count` numbers, in place. momentum_buffer is null if `momentum` is 0. */
typedef struct sigma_sgd {
  sigma_real real;
  double lr, momentum, weight_decay;
  int32_t first; /* non-zero: the momentum buffer starts as the gradient */
  int64_t count;
  void* parameter;
  const void* gradient;
  void* momentum_buffer;
} sigma_sgd;

typedef struct sigma_svd_problem {
  const void* a; /* (m, n), dense rows */
  void* u;       /* (m, k) */
  void* s;       /* (k), descending */
  void* vt;      /* (k, n) */
  int64_t rows;
  int64_t columns;
  int64_t rank; /* k, at most r = min(m, n); on a device k = r */
} sigma_svd_problem;

/*
 * Independent thin SVDs, of which the k largest triples are wanted; `problems` is on the host. Any thread may call it
 * while the context's own thread continues. Waits for the work queued before it, and has finished when it returns. Sign
 * rule: in each column of u, the first entry whose magnitude is at least 1 - 1/2048 of the largest is positive
 * (svd_limits.h).
 */
typedef struct sigma_svd {
  sigma_real real; /* of all matrices */
  sigma_svd_driver driver;
  const sigma_svd_problem* problems;
  int64_t count;
  int64_t* failed; /* on failure, the index of the first unsolved problem */
} sigma_svd;

/* All operations. An operation has the same name in every layer. */
#define SIGMA_OPERATIONS(each)                                                                                        \
  each(copy_matrix) each(cast) each(gemm) each(spmm) each(sddmm) each(core_gradient) each(row_dots) each(column_sums) \
      each(layer_gradients) each(adamw) each(sgd) each(svd)

/* A vector without gaps. */
typedef struct sigma_vector {
  void* data;
  int64_t length;
} sigma_vector;

typedef enum sigma_operation {
#define SIGMA_NUMBER(operation) SIGMA_OPERATION_##operation,
  SIGMA_OPERATIONS(SIGMA_NUMBER)
#undef SIGMA_NUMBER
} sigma_operation;

typedef struct sigma_device {
  char name[256];
  uint64_t memory_bytes;
  int32_t capability_major, capability_minor;
  char uuid[48]; /* "GPU-" and hexadecimal digits in groups, as nvidia-smi names it; empty for the CPU */
} sigma_device;

typedef struct sigma_backend {
  uint32_t abi_version; /* SIGMA_ABI_VERSION */
  uint32_t struct_size; /* sizeof(sigma_backend): detects an older or newer table */
  const char* name;
  int32_t simulated; /* whether host code simulates the device, for tests only */

  /* Message of the last failed call of this thread. */
  const char* (*last_error)(void);
  /* Libraries and instruction sets in use, for bug reports; static text. */
  const char* (*blas)(void);
  const char* (*simd)(void);

  /* Devices are counted from 0. The CPU is one device. */
  int32_t (*device_count)(void);
  sigma_status (*device_info)(int32_t device, sigma_device* info);

  sigma_status (*create_context)(int32_t device, sigma_context** context);
  /* Waits for the queued work. */
  void (*destroy_context)(sigma_context* context);
  /* How many threads one call may use. Process-wide. */
  sigma_status (*set_threads)(int32_t count);
  int32_t (*threads)(void);

  /* Scratch memory, aligned to 64 bytes, valid until the next reserve on this context. */
  sigma_status (*reserve)(sigma_context* context, size_t bytes, void** memory);
  /*
   * Bytes of memory that is kept for later calls: scratch memory and unused blocks, of this context or shared by all.
   * Only the context's own thread may call these two, between its other calls. Neither fails.
   */
  size_t (*kept_bytes)(sigma_context* context);
  /* Frees what is kept and not in use. */
  void (*trim)(sigma_context* context);

  /* Device memory, aligned to 256 bytes. The CPU has no such entry (null): its operands are JavaScript memory. */
  sigma_status (*allocate)(sigma_context* context, size_t bytes, void** memory);
  /* Takes effect after the work queued so far. */
  void (*release)(sigma_context* context, void* memory);
  /* `from` is on the host and may be overwritten once this returns. */
  sigma_status (*upload)(sigma_context* context, void* to, const void* from, size_t bytes);
  /* `to` is on the host. Waits for the work queued so far. May be called from any thread. */
  sigma_status (*download)(sigma_context* context, void* to, const void* from, size_t bytes);
  /* Waits for the work queued so far, and reports its failures. May be called from any thread. */
  sigma_status (*synchronize)(sigma_context* context);

  /* Each queues a time stamp of the device's clock. stop_timer waits and returns the milliseconds between the two. */
  sigma_status (*start_timer)(sigma_context* context);
  sigma_status (*stop_timer)(sigma_context* context, double* milliseconds);

  sigma_status (*copy)(sigma_context* context, void* to, const void* from, size_t bytes);
  sigma_status (*zero)(sigma_context* context, void* memory, size_t bytes);

  /*
   * The Euclidean norm of all numbers of `count` vectors, whose squares neither overflow nor underflow. NaN or Infinity
   * if a number is. Waits for the work queued so far. `vectors` and `norm` are on the host. The CPU has no such entry
   * (null).
   */
  sigma_status (*norm)(sigma_context* context, sigma_real real, const sigma_vector* vectors, int64_t count,
                       double* norm);
  /* Multiplies all numbers of the vectors by `factor`, rounding each product once. The CPU has no such entry (null). */
  sigma_status (*scale)(sigma_context* context, sigma_real real, const sigma_vector* vectors, int64_t count,
                        double factor);

  /*
   * Whether an operation is implemented for vectors of type `real` and for matrices of these types, in the order in
   * which its struct has them. Needs no device and cannot fail.
   */
  int32_t (*supports)(sigma_operation operation, sigma_real real, const sigma_dtype* dtypes, int32_t count);

#define SIGMA_ENTRY(operation) sigma_status (*operation)(sigma_context * context, const sigma_##operation* call);
  SIGMA_OPERATIONS(SIGMA_ENTRY)
#undef SIGMA_ENTRY

  /*
   * Runs `count` independent calls of one operation, given as an array of its structs, with the same bits as one after
   * another. For many small calls: the CPU runs them in parallel. If it fails, some of them may have run.
   */
  sigma_status (*run_each)(sigma_context* context, sigma_operation operation, const void* calls, int64_t count);

  /* Means over the ranks of a job (contract/collective.h); null if this backend has none. */
  const struct sigma_collective* collective;
} sigma_backend;

/* The backend that is part of the addon. */
const sigma_backend* sigma_cpu_backend(void);

/* Why a backend in a separate library can or cannot be used. */
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
  char detail[512];             /* one sentence: what is wrong and what to do */
  char searched[8192];          /* what was tried, one item per line */
} sigma_probe;

/* The only symbol that such a library exports. Called once; prints nothing. For another ABI version it only sets
 * `reason`. The library is never closed. */
#define SIGMA_OPEN_BACKEND "sigma_open_backend"
typedef void (*sigma_open_backend_function)(uint32_t abi_version, sigma_probe* probe);

#ifdef __cplusplus
}
#endif

#endif
