/*
 * Means of device memory over the ranks of a job, through a library of the device's vendor: NCCL. A device backend has
 * a table of these functions (sigma_backend.collective).
 *
 * All ranks call `join`, `mean` and `leave` together. Each of them waits for the other ranks, so it does not run on the
 * thread that owns the context. Each may be called from any thread, but by one thread at a time.
 */
#ifndef SIGMA_CONTRACT_COLLECTIVE_H
#define SIGMA_CONTRACT_COLLECTIVE_H

#include "contract/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SIGMA_COLLECTIVE_ID_BYTES 128

/* The ranks of a job, seen from one device of one rank. */
typedef struct sigma_ranks sigma_ranks;

/* How a call waits for the other ranks. */
typedef struct sigma_wait {
  double seconds;                 /* the time-out; INFINITY for none */
  void (*progress)(void* caller); /* called about every quarter of a millisecond */
  void* caller;
  int32_t timed_out; /* set to 1 by a call that fails because of the time-out */
} sigma_wait;

/* Numbers in device memory. */
typedef struct sigma_span {
  void* data;
  int64_t count;
} sigma_span;

typedef struct sigma_collective_probe {
  int32_t available;
  char detail[512];    /* the library and its version, or why there is none and what to do */
  char searched[8192]; /* what was tried, one item per line */
} sigma_collective_probe;

struct sigma_collective {
  /* Opens the library; later calls give the same answer. Comes before the other functions. */
  void (*open)(sigma_collective_probe* probe);
  /* 16 bytes that no other device has; all 0 if the device has no such number. */
  sigma_status (*identify)(sigma_context* context, unsigned char* uuid);
  /* An id for `join`, made by one rank and given to all: SIGMA_COLLECTIVE_ID_BYTES bytes. */
  sigma_status (*make_id)(void* id);
  /* The context has to live until `leave`. */
  sigma_status (*join)(sigma_context* context, const void* id, int32_t rank, int32_t size, sigma_wait* wait,
                       sigma_ranks** ranks);
  /*
   * Replaces the numbers by their means over the ranks: float64 sums in the order of the ranks, the same bits on all
   * ranks. Counts are the same on all ranks. Reads the memory after the work that is queued on the context, and has
   * finished when it returns. After a failure only `leave` may follow; nothing is written if the ranks did not finish.
   */
  sigma_status (*mean)(sigma_ranks* ranks, sigma_real real, const sigma_span* spans, int64_t count, sigma_wait* wait);
  /* Frees `ranks`. After a failed call it does not wait for the others. */
  void (*leave)(sigma_ranks* ranks, sigma_wait* wait);
};

#ifdef __cplusplus
}
#endif

#endif
