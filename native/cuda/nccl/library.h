// NCCL, loaded at run time. NVIDIA's header is not needed: these few functions have had the same binary interface since
// NCCL 2.14, which brought communicators that do not block.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>

#include "contract/failure.h"
#include "cuda/runtime/searched.h"

namespace sigma::cuda::nccl {

// ncclResult_t. Other numbers are failures too.
enum Result : int { kSuccess = 0, kInProgress = 7 };

// ncclDataType_t.
enum Type : int { kFloat32 = 7, kFloat64 = 8 };

// ncclUniqueId: passed by value.
struct Id {
  char bytes[128];
};

// The first members of ncclConfig_t, which NCCL reads by `size` and `version`.
struct Config {
  size_t size = sizeof(Config);
  unsigned magic = 0xcafebeef;
  unsigned version = 21400;
  int blocking = 0;
};

struct Comm;  // ncclComm: opaque

struct Functions {
  Result (*get_version)(int* version);
  Result (*get_unique_id)(Id* id);
  Result (*comm_init)(Comm** comm, int size, Id id, int rank, Config* config);
  Result (*comm_async_error)(Comm* comm, Result* error);
  Result (*comm_finalize)(Comm* comm);
  Result (*comm_destroy)(Comm* comm);
  Result (*comm_abort)(Comm* comm);
  Result (*group_start)();
  Result (*group_end)();
  Result (*send)(const void* from, size_t count, Type type, int peer, Comm* comm, cudaStream_t stream);
  Result (*receive)(void* to, size_t count, Type type, int peer, Comm* comm, cudaStream_t stream);
  Result (*all_gather)(const void* from, void* to, size_t count, Type type, Comm* comm, cudaStream_t stream);
  const char* (*error_string)(Result result);
  const char* (*last_error)(Comm* comm);
};

struct Library {
  bool is_open = false;
  std::string detail;  // version and location, or why there is none and what to do
  Searched searched;
};

// Opens NCCL once per process; never closes it.
const Library& library();
// Of an open library.
const Functions& functions();

// Throws if a call failed; `what` is the call. `comm` may be null.
void check(Result result, const char* what, Comm* comm = nullptr);

}  // namespace sigma::cuda::nccl
