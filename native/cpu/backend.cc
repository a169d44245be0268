// The CPU's table: each entry turns exceptions into a status and picks the type.
#include "backend.h"

#include <cblas.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>

#include "blas_buffers.h"
#include "guard.h"
#include "ops.h"
#include "pool.h"
#include "simd.h"

// Scratch memory that only grows; freed with the environment. And when the timer was started.
struct sigma_context {
  void* memory = nullptr;
  size_t bytes = 0;
  std::chrono::steady_clock::time_point started;

  ~sigma_context() { std::free(memory); }
};

namespace sigma::cpu {
namespace {

const char* blas_text() { return openblas_get_config(); }

// A build of OpenBLAS with threads of its own is held to one: they would fight the pool's. The first buffer is mapped
// while there is memory; if there is none, the calls that need it say so.
const sigma_backend* initialised(const sigma_backend* table) {
  openblas_set_num_threads(1);
  static_cast<void>(guarded(reserve_blas_buffer));
  return table;
}

// Calls `body.template operator()<T>()` for the type that `dtype` names.
template <class Body>
void with_type(sigma_dtype dtype, Body&& body) {
  if (dtype == SIGMA_FLOAT32) {
    body.template operator()<float>();
  } else if (dtype == SIGMA_FLOAT64) {
    body.template operator()<double>();
  } else {
    throw Failure(SIGMA_UNSUPPORTED, "the CPU computes in float32 and float64");
  }
}

int32_t device_count() { return 1; }

sigma_status device_info(int32_t, sigma_device* info) {
  *info = {};
  std::strncpy(info->name, "cpu", sizeof(info->name) - 1);
  return SIGMA_OK;
}

sigma_status create_context(int32_t, sigma_context** context) {
  return guarded([&] { *context = new sigma_context; });
}

void destroy_context(sigma_context* context) { delete context; }

sigma_status set_thread_count(int32_t count) {
  return guarded([&] {
    if (count < 1) throw Failure(SIGMA_INVALID_ARGUMENT, "at least one thread is needed");
    set_threads(count);
  });
}

sigma_status reserve(sigma_context* context, size_t bytes, void** memory) {
  return guarded([&] {
    if (bytes > context->bytes) {
      constexpr size_t kAlignment = 64;
      std::free(context->memory);
      context->bytes = 0;
      const size_t rounded = (bytes + kAlignment - 1) / kAlignment * kAlignment;
      context->memory = std::aligned_alloc(kAlignment, rounded);
      if (context->memory == nullptr) throw std::bad_alloc();
      context->bytes = rounded;
    }
    *memory = context->memory;
  });
}

sigma_status copy(sigma_context*, void* to, const void* from, size_t bytes) {
  std::memcpy(to, from, bytes);
  return SIGMA_OK;
}

sigma_status zero(sigma_context*, void* memory, size_t bytes) {
  std::memset(memory, 0, bytes);
  return SIGMA_OK;
}

sigma_status synchronize(sigma_context*) { return SIGMA_OK; }

sigma_status start_timer(sigma_context* context) {
  context->started = std::chrono::steady_clock::now();
  return SIGMA_OK;
}

sigma_status stop_timer(sigma_context* context, double* milliseconds) {
  *milliseconds =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - context->started).count();
  return SIGMA_OK;
}

sigma_status table_copy_matrix(sigma_context*, sigma_dtype dtype, const sigma_matrix* from, const sigma_matrix* to) {
  return guarded([&] {
    with_type(dtype, [&]<class T>() {
      for (int64_t i = 0; i < from->rows; ++i) {
        const T* const row = static_cast<const T*>(from->data) + i * from->stride;
        std::copy_n(row, from->columns, static_cast<T*>(to->data) + i * to->stride);
      }
    });
  });
}

sigma_status table_gemm(sigma_context*, sigma_dtype dtype, int32_t transpose_a, int32_t transpose_b,
                        const sigma_matrix* a, const sigma_matrix* b, int32_t accumulate, const void* bias,
                        const sigma_matrix* c) {
  return guarded([&] {
    with_type(dtype, [&]<class T>() {
      gemm<T>(transpose_a != 0, transpose_b != 0, *a, *b, accumulate != 0, static_cast<const T*>(bias), *c);
    });
  });
}

sigma_status table_spmm(sigma_context*, sigma_dtype dtype, const sigma_core* core, int32_t transpose,
                        const sigma_matrix* dense, const sigma_matrix* out) {
  return guarded([&] { with_type(dtype, [&]<class T>() { spmm<T>(*core, transpose != 0, *dense, *out); }); });
}

sigma_status table_sddmm(sigma_context*, sigma_dtype dtype, const sigma_pattern* pattern, const sigma_matrix* a,
                         const sigma_matrix* b, void* samples) {
  return guarded([&] { with_type(dtype, [&]<class T>() { sddmm<T>(*pattern, *a, *b, static_cast<T*>(samples)); }); });
}

sigma_status table_core_gradient(sigma_context*, sigma_dtype dtype, const sigma_core* core, const void* samples,
                                 void* dvalues, void* dgate) {
  return guarded([&] {
    with_type(dtype, [&]<class T>() {
      core_gradient<T>(*core, static_cast<const T*>(samples), static_cast<T*>(dvalues), static_cast<T*>(dgate));
    });
  });
}

sigma_status table_row_dots(sigma_context*, sigma_dtype dtype, const sigma_matrix* a, const sigma_matrix* b,
                            const void* mask, void* sums) {
  return guarded([&] {
    with_type(dtype, [&]<class T>() { row_dots<T>(*a, *b, static_cast<const T*>(mask), static_cast<T*>(sums)); });
  });
}

sigma_status table_column_sums(sigma_context*, sigma_dtype dtype, const sigma_matrix* a, void* sums) {
  return guarded([&] { with_type(dtype, [&]<class T>() { column_sums<T>(*a, static_cast<T*>(sums)); }); });
}

sigma_status table_adamw(sigma_context*, sigma_dtype dtype, const sigma_adamw* options, int64_t count, void* parameter,
                         const void* gradient, void* m, void* v) {
  return guarded([&] {
    with_type(dtype, [&]<class T>() {
      adamw<T>(*options, count, static_cast<T*>(parameter), static_cast<const T*>(gradient), static_cast<T*>(m),
               static_cast<T*>(v));
    });
  });
}

sigma_status table_sgd(sigma_context*, sigma_dtype dtype, const sigma_sgd* options, int64_t count, void* parameter,
                       const void* gradient, void* momentum_buffer) {
  return guarded([&] {
    with_type(dtype, [&]<class T>() {
      sgd<T>(*options, count, static_cast<T*>(parameter), static_cast<const T*>(gradient),
             static_cast<T*>(momentum_buffer));
    });
  });
}

sigma_status table_svd(sigma_context*, sigma_dtype dtype, sigma_svd_driver driver, const sigma_svd_problem* problems,
                       int64_t count, int64_t* failed) {
  return guarded([&] { with_type(dtype, [&]<class T>() { svd<T>(driver, problems, count, failed); }); });
}

constexpr sigma_backend kTable = {
    .abi_version = SIGMA_ABI_VERSION,
    .struct_size = sizeof(sigma_backend),
    .name = "cpu",
    .simulated = 0,
    .last_error = last_error,
    .blas = blas_text,
    .simd = simd_level,
    .device_count = device_count,
    .device_info = device_info,
    .create_context = create_context,
    .destroy_context = destroy_context,
    .set_threads = set_thread_count,
    .threads = threads,
    .reserve = reserve,
    .allocate = nullptr,
    .release = nullptr,
    .upload = nullptr,
    .download = nullptr,
    .synchronize = synchronize,
    .start_timer = start_timer,
    .stop_timer = stop_timer,
    .copy = copy,
    .zero = zero,
    .copy_matrix = table_copy_matrix,
    .cast = nullptr,
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
}  // namespace sigma::cpu

const sigma_backend* sigma_cpu_backend(void) {
  static const sigma_backend* const table = sigma::cpu::initialised(&sigma::cpu::kTable);
  return table;
}
