#include "counts.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "misuse.h"

namespace sigma::simulation {
namespace {

Counts* in_file(const char* path) {
  const int file = ::open(path, O_RDWR | O_CREAT, 0600);
  require(file >= 0 && ftruncate(file, sizeof(Counts)) == 0, "SIGMA_SIMULATED_COUNTS", "expected a writable file");
  void* const memory = mmap(nullptr, sizeof(Counts), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ::close(file);
  require(memory != MAP_FAILED, "SIGMA_SIMULATED_COUNTS", "expected a file that can be mapped");
  return new (memory) Counts{};
}

}  // namespace

Counts& counts() {
  static Counts& all = []() -> Counts& {
    const char* const path = std::getenv("SIGMA_SIMULATED_COUNTS");
    return path == nullptr || *path == '\0' ? *new Counts{} : *in_file(path);
  }();
  return all;
}

}  // namespace sigma::simulation

extern "C" __attribute__((visibility("default"))) void sigma_simulated_count_product() {
  ++sigma::simulation::counts().products;
}

extern "C" __attribute__((visibility("default"))) const sigma::simulation::Counts* sigma_simulated_counts() {
  return &sigma::simulation::counts();
}
