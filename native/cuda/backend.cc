// The table of the CUDA backend. Each entry makes the context's device current and turns exceptions into a status.
#include "contract/backend.h"

#include <cstdio>
#include <string>
#include <type_traits>

#include "contract/failure.h"
#include "cuda/nccl/collective.h"
#include "cuda/ops.h"
#include "cuda/runtime/context_state.h"
#include "cuda/runtime/driver.h"
#include "cuda/runtime/libraries.h"
#include "cuda/runtime/memory.h"
#include "cuda/runtime/types.h"
#include "cuda/table.h"

namespace sigma::cuda {
namespace {

// A faulting kernel corrupts the CUDA context, and then every later call returns the error.
bool is_sticky(cudaError_t error) { return error >= cudaErrorIllegalAddress || error == cudaErrorECCUncorrectable; }

template <class Body>
sigma_status on(sigma_context* context, Body&& body) {
  return guarded([&] {
    try {
      context->activate();
      body();
    } catch (const CudaFailure& failure) {
      if (!is_sticky(failure.error())) throw;
      context->explain(failure);
    } catch (const LibraryFailure&) {
      // A library takes the blame for an earlier fault.
      const cudaError_t error = cudaStreamQuery(context->stream());
      static_cast<void>(cudaGetLastError());
      if (!is_sticky(error)) throw;
      context->explain(CudaFailure(error, described(error)));
    }
  });
}

const char* simd_text() { return "CUDA"; }

int32_t device_count() { return supported_devices(); }

// As nvidia-smi names a card: GPU-8-4-4-4-12 hexadecimal digits.
template <size_t size>
void write_uuid(const cudaUUID_t& uuid, char (&to)[size]) {
  std::string text = "GPU-";
  for (size_t i = 0; i < sizeof(uuid.bytes); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    constexpr const char* kDigits = "0123456789abcdef";
    const auto byte = static_cast<unsigned char>(uuid.bytes[i]);
    text += {kDigits[byte / 16], kDigits[byte % 16]};
  }
  std::snprintf(to, size, "%s", text.c_str());
}

sigma_status device_info(int32_t device, sigma_device* info) {
  return guarded([&] {
    const int index = supported_device(device);
    cudaDeviceProp properties = {};
    check(cudaGetDeviceProperties(&properties, index), "the device's properties");
    *info = {};
    std::snprintf(info->name, sizeof(info->name), "%s", properties.name);
    info->memory_bytes = properties.totalGlobalMem;
    info->capability_major = properties.major;
    info->capability_minor = properties.minor;
    write_uuid(properties.uuid, info->uuid);
  });
}

sigma_status create_context(int32_t device, sigma_context** context) {
  return guarded([&] { *context = new sigma_context(device); });
}

void destroy_context(sigma_context* context) { delete context; }

sigma_status reserve(sigma_context* context, size_t bytes, void** memory) {
  return on(context, [&] { *memory = context->reserve(bytes); });
}

size_t kept_bytes(sigma_context* context) { return context->kept_bytes(); }

void trim(sigma_context* context) {
  on(context, [&] { context->trim(); });
}

sigma_status table_allocate(sigma_context* context, size_t bytes, void** memory) {
  return on(context, [&] { *memory = context->state().blocks.allocate(bytes); });
}

void table_release(sigma_context* context, void* memory) {
  on(context, [&] { context->state().blocks.release(memory); });
}

sigma_status upload(sigma_context* context, void* to, const void* from, size_t bytes) {
  return on(context, [&] { context->upload(to, from, bytes); });
}

sigma_status download(sigma_context* context, void* to, const void* from, size_t bytes) {
  return on(context, [&] { context->download(to, from, bytes); });
}

sigma_status synchronize(sigma_context* context) {
  return on(context, [&] { context->synchronize(); });
}

sigma_status start_timer(sigma_context* context) {
  return on(context, [&] { context->state().timer.start(context->stream()); });
}

sigma_status stop_timer(sigma_context* context, double* milliseconds) {
  return on(context, [&] {
    context->state().timer.stop(context->stream());
    context->synchronize();
    *milliseconds = context->state().timer.elapsed();
  });
}

sigma_status copy(sigma_context* context, void* to, const void* from, size_t bytes) {
  return on(context, [&] {
    context->queued("copy");
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, context->stream()), "copy");
  });
}

sigma_status zero(sigma_context* context, void* memory, size_t bytes) {
  return on(context, [&] {
    context->queued("zero");
    check(cudaMemsetAsync(memory, 0, bytes, context->stream()), "zero");
  });
}

sigma_status table_norm(sigma_context* context, sigma_real real, const sigma_vector* vectors, int64_t count,
                        double* result) {
  return on(context, [&] { *result = norm(*context, real, vectors, count); });
}

sigma_status table_scale(sigma_context* context, sigma_real real, const sigma_vector* vectors, int64_t count,
                         double factor) {
  return on(context, [&] { scale(*context, real, vectors, count, factor); });
}

int32_t supports(sigma_operation operation, sigma_real real, const sigma_dtype* dtypes, int32_t count) {
  if (operation == SIGMA_OPERATION_copy_matrix) return count == 2 && dtypes[0] == dtypes[1] ? 1 : 0;
  if (operation == SIGMA_OPERATION_cast) {
    const auto casts = [](sigma_dtype dtype) { return dtype != SIGMA_INT8 && dtype != SIGMA_FLOAT16; };
    return count == 2 && casts(dtypes[0]) && casts(dtypes[1]) ? 1 : 0;
  }
  if (operation == SIGMA_OPERATION_gemm) return multiplies(real, dtypes, static_cast<size_t>(count)) ? 1 : 0;
  return computes(real, dtypes, static_cast<size_t>(count)) ? 1 : 0;
}

// Adapts a function of ops.h to an entry of the table.
template <class Call, void (*operation)(sigma_context&, const Call&)>
sigma_status entry(sigma_context* context, const Call* call) {
  return on(context, [&] { operation(*context, *call); });
}

// The stream runs the calls one after another. Those that are one launch together are.
template <class Call, void (*operation)(sigma_context&, const Call&)>
void run_calls(sigma_context& context, const void* calls, int64_t count) {
  const auto* const all = static_cast<const Call*>(calls);
  if constexpr (std::is_same_v<Call, sigma_adamw>) {
    adamw_each(context, all, count);
  } else if constexpr (std::is_same_v<Call, sigma_sgd>) {
    sgd_each(context, all, count);
  } else {
    for (int64_t i = 0; i < count; ++i) operation(context, all[i]);
  }
}

// By sigma_operation.
constexpr void (*kRunCalls[])(sigma_context& context, const void* calls, int64_t count) = {
#define SIGMA_RUN(operation) run_calls<sigma_##operation, operation>,
    SIGMA_OPERATIONS(SIGMA_RUN)
#undef SIGMA_RUN
};

sigma_status run_each(sigma_context* context, sigma_operation operation, const void* calls, int64_t count) {
  return on(context, [&] { kRunCalls[operation](*context, calls, count); });
}

#ifdef SIGMA_SIMULATED
constexpr const char* kName = "cuda (simulated)";
constexpr int32_t kSimulated = 1;
#else
constexpr const char* kName = "cuda";
constexpr int32_t kSimulated = 0;
#endif

constexpr sigma_backend kTable = {.abi_version = SIGMA_ABI_VERSION,
                                  .struct_size = sizeof(sigma_backend),
                                  .name = kName,
                                  .simulated = kSimulated,
                                  .last_error = last_error,
                                  .blas = libraries_text,
                                  .simd = simd_text,
                                  .device_count = device_count,
                                  .device_info = device_info,
                                  .create_context = create_context,
                                  .destroy_context = destroy_context,
                                  .set_threads = nullptr,
                                  .threads = nullptr,
                                  .reserve = reserve,
                                  .kept_bytes = kept_bytes,
                                  .trim = trim,
                                  .allocate = table_allocate,
                                  .release = table_release,
                                  .upload = upload,
                                  .download = download,
                                  .synchronize = synchronize,
                                  .start_timer = start_timer,
                                  .stop_timer = stop_timer,
                                  .copy = copy,
                                  .zero = zero,
                                  .norm = table_norm,
                                  .scale = table_scale,
                                  .supports = supports,
#define SIGMA_FILL(operation) .operation = entry<sigma_##operation, operation>,
                                  SIGMA_OPERATIONS(SIGMA_FILL)
#undef SIGMA_FILL
                                      .run_each = run_each,
                                  .collective = &kCollective};

}  // namespace

void copy_matrix(sigma_context& context, const sigma_copy_matrix& call) {
  const auto& [from, to] = call;
  if (to.dtype != from.dtype) refuse_types(real_of(from.dtype), {from.dtype, to.dtype});
  context.queued("copy");
  const auto bytes = [&](int64_t elements) { return static_cast<size_t>(elements) * element_size(from.dtype); };
  check(cudaMemcpy2DAsync(to.data, bytes(to.stride), from.data, bytes(from.stride), bytes(from.columns),
                          static_cast<size_t>(from.rows), cudaMemcpyDeviceToDevice, context.stream()),
        "copy");
}

const sigma_backend* table() { return &kTable; }

}  // namespace sigma::cuda
