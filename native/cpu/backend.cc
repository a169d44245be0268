// The table of the CPU backend.
#include "contract/backend.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>

#include "contract/failure.h"
#include "cpu/gemm/blas_buffers.h"
#include "cpu/gemm/blas_library.h"
#include "cpu/ops.h"
#include "cpu/runtime/dispatch.h"
#include "cpu/runtime/memory.h"
#include "cpu/runtime/pool.h"
#include "cpu/runtime/scratch.h"
#include "cpu/runtime/simd.h"

// Scratch memory, which grows until it is freed, and the start of the timer.
struct sigma_context {
  void* memory = nullptr;
  size_t bytes = 0;
  std::chrono::steady_clock::time_point started;

  ~sigma_context() { free(); }
  void free() {
    sigma::cpu::release(memory);
    sigma::cpu::count_scratch(-static_cast<std::ptrdiff_t>(bytes));
    memory = nullptr;
    bytes = 0;
  }
};

namespace sigma::cpu {
namespace {

// Maps the first BLAS buffer early; if there is no memory for it, the calls that need a buffer report that.
const sigma_backend* initialised(const sigma_backend* table) {
  use_fast_kernels();
  use_one_blas_thread();
  static_cast<void>(guarded(reserve_blas_buffer));
  return table;
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

sigma_status set_thread_count(int32_t count) {
  return guarded([&] {
    if (count < 1) throw Failure(SIGMA_INVALID_ARGUMENT, "threads: expected at least 1, got " + std::to_string(count));
    set_threads(count);
  });
}

sigma_status reserve(sigma_context* context, size_t bytes, void** memory) {
  return guarded([&] {
    if (bytes > context->bytes) {
      context->free();
      context->memory = allocate_aligned(bytes);
      if (context->memory == nullptr) throw std::bad_alloc();
      context->bytes = bytes;
      count_scratch(static_cast<std::ptrdiff_t>(bytes));
    }
    *memory = context->memory;
  });
}

size_t kept_bytes(sigma_context*) { return scratch_bytes() + blas_buffer_bytes(); }

void trim(sigma_context* context) {
  context->free();
  trim_scratch();
  trim_blas_buffers();
  trim_heap();
}

void destroy_context(sigma_context* context) {
  trim(context);
  delete context;
}

sigma_status copy(sigma_context*, void* to, const void* from, size_t bytes) {
  std::memcpy(to, from, bytes);
  return SIGMA_OK;
}

sigma_status zero(sigma_context*, void* memory, size_t bytes) {
  std::memset(memory, 0, bytes);
  return SIGMA_OK;
}

// Scales are not copied.
bool is_copied(sigma_dtype from, sigma_dtype to) { return from == to && from != SIGMA_INT8; }

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

int32_t supports(sigma_operation operation, sigma_real real, const sigma_dtype* dtypes, int32_t count) {
  if (operation == SIGMA_OPERATION_cast) return count == 2 ? 1 : 0;
  if (operation == SIGMA_OPERATION_copy_matrix) return count == 2 && is_copied(dtypes[0], dtypes[1]) ? 1 : 0;
  if (operation == SIGMA_OPERATION_gemm) return multiplies(real, dtypes, static_cast<size_t>(count)) ? 1 : 0;
  return computes(real, dtypes, static_cast<size_t>(count)) ? 1 : 0;
}

// Adapts a function of ops.h to an entry of the table.
template <class Call, void (*operation)(const Call&)>
sigma_status entry(sigma_context*, const Call* call) {
  return guarded([&] { operation(*call); });
}

// Few calls run one after another, each on all threads; many run in parallel, each on one thread.
template <class Call, void (*operation)(const Call&)>
void run_calls(const void* calls, int64_t count) {
  const auto run = [&](int64_t i) { operation(static_cast<const Call*>(calls)[i]); };
  if (count < 4 * threads()) {
    for (int64_t i = 0; i < count; ++i) run(i);
  } else {
    parallel_for(count, run);
  }
}

// By sigma_operation.
constexpr void (*kRunCalls[])(const void* calls, int64_t count) = {
#define SIGMA_RUN(operation) run_calls<sigma_##operation, operation>,
    SIGMA_OPERATIONS(SIGMA_RUN)
#undef SIGMA_RUN
};

sigma_status run_each(sigma_context*, sigma_operation operation, const void* calls, int64_t count) {
  return guarded([&] { kRunCalls[operation](calls, count); });
}

constexpr sigma_backend kTable = {.abi_version = SIGMA_ABI_VERSION,
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
                                  .kept_bytes = kept_bytes,
                                  .trim = trim,
                                  .allocate = nullptr,
                                  .release = nullptr,
                                  .upload = nullptr,
                                  .download = nullptr,
                                  .synchronize = synchronize,
                                  .start_timer = start_timer,
                                  .stop_timer = stop_timer,
                                  .copy = copy,
                                  .zero = zero,
                                  .norm = nullptr,
                                  .scale = nullptr,
                                  .supports = supports,
#define SIGMA_FILL(operation) .operation = entry<sigma_##operation, operation>,
                                  SIGMA_OPERATIONS(SIGMA_FILL)
#undef SIGMA_FILL
                                      .run_each = run_each,
                                  .collective = nullptr};

}  // namespace

void copy_matrix(const sigma_copy_matrix& call) {
  const auto& [from, to] = call;
  const size_t size = element_size(from.dtype);
  if (!is_copied(from.dtype, to.dtype)) refuse_types(real_of(from.dtype), {from.dtype, to.dtype});
  for (int64_t i = 0; i < from.rows; ++i) {
    std::memcpy(static_cast<std::byte*>(to.data) + static_cast<size_t>(i * to.stride) * size,
                static_cast<const std::byte*>(from.data) + static_cast<size_t>(i * from.stride) * size,
                static_cast<size_t>(from.columns) * size);
  }
}

}  // namespace sigma::cpu

const sigma_backend* sigma_cpu_backend(void) {
  static const sigma_backend* const table = sigma::cpu::initialised(&sigma::cpu::kTable);
  return table;
}
