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

}  // namespace sigma::cpu

#else

extern "C" {
char* openblas_get_config(void);
void openblas_set_num_threads(int count);
}

namespace sigma::cpu {

const char* blas_text() { return openblas_get_config(); }

void use_one_blas_thread() { openblas_set_num_threads(1); }

}  // namespace sigma::cpu

#endif
