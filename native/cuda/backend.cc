// The GPU's table: each entry makes the context's device current and turns exceptions into a status.
#include "backend.h"

#include <cstdio>

#include "context_state.h"
#include "driver.h"
#include "guard.h"
#include "libraries.h"
#include "memory.h"
#include "ops.h"
#include "table.h"

namespace sigma::cuda {
namespace {

// A kernel that went wrong leaves its device unusable, and each later call says so, whatever it is.
bool met_later(cudaError_t error) { return error >= cudaErrorIllegalAddress || error == cudaErrorECCUncorrectable; }

template <class Body>
sigma_status on(sigma_context* context, Body&& body) {
  return guarded([&] {
    try {
      context->activate();
      body();
    } catch (const CudaFailure& failure) {
      if (!met_later(failure.error())) throw;
      context->explain(failure);
    }
  });
}

size_t element_size(sigma_dtype dtype) { return dtype == SIGMA_FLOAT64 ? 8 : dtype == SIGMA_FLOAT32 ? 4 : 2; }

const char* simd_text() { return "CUDA"; }

int32_t device_count() { return supported_devices(); }

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
  });
}

sigma_status create_context(int32_t device, sigma_context** context) {
  return guarded([&] { *context = new sigma_context(device); });
}

void destroy_context(sigma_context* context) { delete context; }

sigma_status reserve(sigma_context* context, size_t bytes, void** memory) {
  return on(context, [&] { *memory = context->reserve(bytes); });
}

sigma_status table_allocate(sigma_context* context, size_t bytes, void** memory) {
  return on(context, [&] { *memory = allocate(context->device(), context->stream(), bytes); });
}

void table_release(sigma_context* context, void* memory) {
  on(context, [&] { release(context->device(), context->stream(), memory); });
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

sigma_status copy_matrix(sigma_context* context, sigma_dtype dtype, const sigma_matrix* from, const sigma_matrix* to) {
  return on(context, [&] {
    context->queued("copy");
    const size_t size = element_size(dtype);
    const auto bytes = [&](int64_t elements) { return static_cast<size_t>(elements) * size; };
    check(cudaMemcpy2DAsync(to->data, bytes(to->stride), from->data, bytes(from->stride), bytes(from->columns),
                            static_cast<size_t>(from->rows), cudaMemcpyDeviceToDevice, context->stream()),
          "copy");
  });
}

sigma_status table_cast(sigma_context* context, sigma_dtype from_dtype, sigma_dtype to_dtype, int64_t count,
                        const void* from, void* to) {
  return on(context, [&] { cast(*context, from_dtype, to_dtype, count, from, to); });
}

sigma_status table_gemm(sigma_context* context, sigma_dtype dtype, int32_t transpose_a, int32_t transpose_b,
                        const sigma_matrix* a, const sigma_matrix* b, int32_t accumulate, const void* bias,
                        const sigma_matrix* c) {
  return on(context,
            [&] { gemm(*context, dtype, transpose_a != 0, transpose_b != 0, *a, *b, accumulate != 0, bias, *c); });
}

sigma_status table_spmm(sigma_context* context, sigma_dtype dtype, const sigma_core* core, int32_t transpose,
                        const sigma_matrix* dense, const sigma_matrix* out) {
  return on(context, [&] { spmm(*context, dtype, *core, transpose != 0, *dense, *out); });
}

sigma_status table_sddmm(sigma_context* context, sigma_dtype dtype, const sigma_pattern* pattern, const sigma_matrix* a,
                         const sigma_matrix* b, void* samples) {
  return on(context, [&] { sddmm(*context, dtype, *pattern, *a, *b, samples); });
}

sigma_status table_core_gradient(sigma_context* context, sigma_dtype dtype, const sigma_core* core, const void* samples,
                                 void* dvalues, void* dgate) {
  return on(context, [&] { core_gradient(*context, dtype, *core, samples, dvalues, dgate); });
}

sigma_status table_row_dots(sigma_context* context, sigma_dtype dtype, const sigma_matrix* a, const sigma_matrix* b,
                            const void* mask, void* sums) {
  return on(context, [&] { row_dots(*context, dtype, *a, *b, mask, sums); });
}

sigma_status table_column_sums(sigma_context* context, sigma_dtype dtype, const sigma_matrix* a, void* sums) {
  return on(context, [&] { column_sums(*context, dtype, *a, sums); });
}

sigma_status table_adamw(sigma_context* context, sigma_dtype dtype, const sigma_adamw* options, int64_t count,
                         void* parameter, const void* gradient, void* m, void* v) {
  return on(context, [&] { adamw(*context, dtype, *options, count, parameter, gradient, m, v); });
}

sigma_status table_sgd(sigma_context* context, sigma_dtype dtype, const sigma_sgd* options, int64_t count,
                       void* parameter, const void* gradient, void* momentum_buffer) {
  return on(context, [&] { sgd(*context, dtype, *options, count, parameter, gradient, momentum_buffer); });
}

sigma_status table_svd(sigma_context* context, sigma_dtype dtype, sigma_svd_driver driver,
                       const sigma_svd_problem* problems, int64_t count, int64_t* failed) {
  return on(context, [&] { svd(*context, dtype, driver, problems, count, failed); });
}

#ifdef SIGMA_SIMULATED
constexpr const char* kName = "cuda (simulated)";
constexpr int32_t kSimulated = 1;
#else
constexpr const char* kName = "cuda";
constexpr int32_t kSimulated = 0;
#endif

constexpr sigma_backend kTable = {
    .abi_version = SIGMA_ABI_VERSION,
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
    .allocate = table_allocate,
    .release = table_release,
    .upload = upload,
    .download = download,
    .synchronize = synchronize,
    .start_timer = start_timer,
    .stop_timer = stop_timer,
    .copy = copy,
    .zero = zero,
    .copy_matrix = copy_matrix,
    .cast = table_cast,
    .gemm = table_gemm,
    .spmm = table_spmm,
    .sddmm = table_sddmm,
    .core_gradient = table_core_gradient,
    .row_dots = table_row_dots,
    .column_sums = table_column_sums,
    .adamw = table_adamw,
    .sgd = table_sgd,
    .svd = table_svd,
};

}  // namespace

const sigma_backend* table() { return &kTable; }

}  // namespace sigma::cuda
