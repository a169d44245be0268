// check <libsigmatune_cuda_simulated.so> [part...]: compares the simulated backend with float64 references.
#include <dlfcn.h>

#include <algorithm>
#include <cstring>

#include "check.h"

using namespace sigma::check;

int main(int count, char** arguments) {
  if (count < 2) return 2;
  void* const library = dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::printf("FAILED: %s\n", dlerror());
    return 1;
  }
  const auto open = reinterpret_cast<sigma_open_backend_function>(dlsym(library, SIGMA_OPEN_BACKEND));
  counts = reinterpret_cast<decltype(counts)>(dlsym(library, "sigma_simulated_counts"));
  sigma_probe probe = {};
  open(SIGMA_ABI_VERSION, &probe);
  if (probe.reason != SIGMA_AVAILABLE) {
    std::printf("not available, reason %d: %s\n%s\n", probe.reason, probe.detail, probe.searched);
    return 3 + static_cast<int>(probe.reason);
  }
  backend = probe.backend;
  if (count == 5 && std::strcmp(arguments[2], "rank") == 0) {
    run_rank(arguments[3], arguments[4]);
    return failures == 0 ? 0 : 1;
  }
  std::printf("%s: %s\n", backend->name, probe.detail);
  struct Part {
    const char* name;
    void (*run)();
  };
  for (const Part& part : {Part{"gemm", check_gemm}, Part{"memory", check_memory}, Part{"failures", check_failures},
                           Part{"libraries", check_libraries}, Part{"waits", check_waits}, Part{"svd", check_svd},
                           Part{"threads", check_threads}}) {
    const auto named = [&](const char* argument) { return std::strcmp(argument, part.name) == 0; };
    if (count > 2 && std::none_of(arguments + 2, arguments + count, named)) continue;
    const int before = failures;
    part.run();
    std::printf("%s: %s\n", part.name, failures == before ? "passed" : "FAILED");
  }
  const auto ranks = [](const char* argument) { return std::strcmp(argument, "ranks") == 0; };
  if (count == 2 || std::any_of(arguments + 2, arguments + count, ranks)) {
    const int before = failures;
    check_ranks(arguments[0], arguments[1]);
    std::printf("ranks: %s\n", failures == before ? "passed" : "FAILED");
  }
  return failures == 0 ? 0 : 1;
}
