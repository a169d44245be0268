#include "cpu/gemm/blas_library.h"

#if defined(__APPLE__)

#include <dlfcn.h>

namespace sigma::cpu {

const char* blas_text() { return "Accelerate"; }

// macOS 15 and later have a switch: enum { BLAS_THREADING_MULTI_THREADED, BLAS_THREADING_SINGLE_THREADED }, per thread.
void use_one_blas_thread() {
  void* const found = dlsym(RTLD_DEFAULT, "BLASSetThreading");
  if (found != nullptr) reinterpret_cast<int (*)(int)>(found)(1);
}

void use_fast_kernels() {}

}  // namespace sigma::cpu

#else

#include <cstdlib>
#include <cstring>

#include "cpu/runtime/simd.h"

// The kernels are exchanged only in an archive, which belongs to this addon alone.
#if defined(SIGMA_WRAP_OPENBLAS) && defined(__x86_64__)
#define SIGMA_CHOOSES_KERNELS
#endif

extern "C" {
char* openblas_get_config(void);
void openblas_set_num_threads(int count);
#ifdef SIGMA_CHOOSES_KERNELS
char* openblas_get_corename(void);
// Null in an archive for one processor.
__attribute__((weak)) void gotoblas_dynamic_init(void);
__attribute__((weak)) void gotoblas_dynamic_quit(void);
#endif
}

namespace sigma::cpu {

const char* blas_text() { return openblas_get_config(); }

void use_one_blas_thread() { openblas_set_num_threads(1); }

#ifdef SIGMA_CHOOSES_KERNELS

// OpenBLAS takes a processor that is newer than itself for one with SSE3 only, and is then five times as slow.
void use_fast_kernels() {
  constexpr const char* kVariable = "OPENBLAS_CORETYPE";
  const bool unknown = std::strcmp(openblas_get_corename(), "Prescott") == 0 && std::getenv(kVariable) == nullptr;
  if (!unknown || gotoblas_dynamic_init == nullptr || gotoblas_dynamic_quit == nullptr) return;
  if (level() < Level::avx2) return;
  const char* const name = level() >= Level::avx512bf16 ? "Cooperlake"
                           : level() >= Level::avx512   ? "SkylakeX"
                                                        : "Haswell";
  setenv(kVariable, name, /* overwrite = */ 1);
  gotoblas_dynamic_quit();
  gotoblas_dynamic_init();
  unsetenv(kVariable);
}

#else

void use_fast_kernels() {}

#endif

}  // namespace sigma::cpu

#endif
