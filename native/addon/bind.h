// One function per area. Each exports its operations under the names of lib/runtime/native.ts.
#pragma once

#include <napi.h>

namespace sigma {

void bind_system(Napi::Object exports);
void bind_buffers(Napi::Object exports);
void bind_device(Napi::Object exports);
void bind_linalg(Napi::Object exports);
void bind_sparse(Napi::Object exports);
void bind_adapter(Napi::Object exports);
void bind_each(Napi::Object exports);
void bind_optim(Napi::Object exports);
void bind_mpi(Napi::Object exports);
void bind_nccl(Napi::Object exports);

}  // namespace sigma
