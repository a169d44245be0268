/*
 * The C interface between the addon and the library that is compiled against the machine's MPI. It depends on neither
 * Node nor MPI.
 *
 * A library has one world: the processes that one launcher started. All calls of MPI are made by one thread of the
 * library, in the order of `submit`. No function prints or waits without a limit. `abandon` ends the process: the
 * caller is leaving it.
 */
#ifndef SIGMA_CONTRACT_MPI_H
#define SIGMA_CONTRACT_MPI_H

#include "contract/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SIGMA_MPI_VERSION 2

typedef enum sigma_mpi_kind {
  /* MPI_Init. Comes first. Cannot time out: MPI waits in it until all processes of the job have called it. */
  SIGMA_MPI_START = 0,
  /* Bytes of each rank to all ranks: `length` bytes of `input`; (size, length) bytes of `output`. */
  SIGMA_MPI_GATHER,
  /* The mean of float32 or float64 vectors: float64 sums in the order of the ranks; `length` bytes on both sides. */
  SIGMA_MPI_MEAN,
  /* The bytes of rank `root` to all ranks: `length` bytes on both sides. */
  SIGMA_MPI_BROADCAST,
  /* Sets the counter to 0 on rank 0. A barrier has to follow before the first claim. */
  SIGMA_MPI_RESET,
  /* Adds `amount` to the counter; `value` is what it was before. */
  SIGMA_MPI_CLAIM,
  /* Runs `work`, which may wait for other ranks by other means than MPI. */
  SIGMA_MPI_RUN,
  /* Compares `length` bytes of `input`, which may be 0, over all ranks, then MPI_Finalize. Fails if they differ. Comes
     last. */
  SIGMA_MPI_FINISH
} sigma_mpi_kind;

typedef enum sigma_mpi_outcome {
  SIGMA_MPI_DONE = 0,
  /* Not all ranks took part in time. The state of the world is then unknown, and all later calls fail. */
  SIGMA_MPI_TIMED_OUT,
  SIGMA_MPI_FAILED,
  SIGMA_MPI_NO_MEMORY
} sigma_mpi_outcome;

typedef struct sigma_mpi_call {
  sigma_mpi_kind kind;
  sigma_real real; /* of SIGMA_MPI_MEAN */
  int32_t root;
  int64_t amount;
  double seconds; /* the time-out; INFINITY for none */
  int64_t length; /* bytes */
  const void* input;
  void* output; /* written only by a call that is done */
  void* owner;  /* of the caller */
  /*
   * Of SIGMA_MPI_RUN: sets `outcome`, and `message` if it failed. Throws nothing. While it waits it calls
   * progress(world) about every millisecond, so that this rank answers others, and can be ended.
   */
  void (*work)(struct sigma_mpi_call* call, void (*progress)(void* world), void* world);
  /* Runs on the library's thread, as the last of a call. */
  void (*done)(struct sigma_mpi_call* call);

  sigma_mpi_outcome outcome;
  int64_t value;
  char message[512];
} sigma_mpi_call;

typedef struct sigma_mpi {
  uint32_t version;     /* SIGMA_MPI_VERSION */
  uint32_t struct_size; /* sizeof(sigma_mpi) */
  /* The version of the MPI that is loaded; static text. May be called before the start. */
  const char* (*library)(void);
  /* Of this process; 0 and 1 before the start. */
  int32_t (*rank)(void);
  int32_t (*size)(void);
  /* Queues a call. The call and its memory belong to the library until `done`. */
  void (*submit)(sigma_mpi_call* call);
  /* SIGMA_MPI_FINISH for the exit of a process: 0 if other calls are queued, or if it is not done within `seconds`. */
  int32_t (*leave)(const void* input, int64_t length, double seconds);
  /* For the exit of a process. Ends all processes of the job with this code; returns after `seconds` if MPI cannot. */
  void (*abandon)(int32_t code, double seconds);
} sigma_mpi;

/* The only symbol of the library. Null for another version. */
#define SIGMA_OPEN_MPI "sigma_open_mpi"
typedef const sigma_mpi* (*sigma_open_mpi_function)(uint32_t version);

#ifdef __cplusplus
}
#endif

#endif
