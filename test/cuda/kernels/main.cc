// kernel_check: every CUDA kernel on the host, through the functions that launch it, against plain float64 loops.
//
// Compiled with SIGMA_SHIM_NO_BARRIER, which leaves the barriers out, it fails if each family whose kernels have some
// does. Where one of them passes it succeeds, and says which: that family's checks prove nothing of its barriers.
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>

#include "families.h"
#include "harness.h"

namespace check {
namespace {

struct Count {
  int passed = 0;
  int failed = 0;
};

std::map<std::string, Count> counts;
std::string family;

}  // namespace

void begin_family(const char* name) { family = name; }

void expect(bool condition, const std::string& what) {
  constexpr int kPrinted = 5;
  Count& count = counts[family];
  ++(condition ? count.passed : count.failed);
  if (!condition && count.failed <= kPrinted) std::fprintf(stderr, "FAILED: %s: %s\n", family.c_str(), what.c_str());
}

namespace {

int report() {
  Count all;
  std::string families;
  for (const auto& [name, count] : counts) {
    all.passed += count.passed;
    all.failed += count.failed;
    families += (families.empty() ? "" : ", ") + name + " " + std::to_string(count.passed);
    if (count.failed > 0) families += " (" + std::to_string(count.failed) + " failed)";
  }
  std::printf("kernels: %d passed, %d failed (%s)\n", all.passed, all.failed, families.c_str());
#ifdef SIGMA_SHIM_NO_BARRIER
  for (const char* const name : {"shim", "slab products", "slab samples", "core gradient", "column sums"}) {
    if (counts[name].failed > 0) continue;
    std::printf("%s: passes without barriers\n", name);
    return EXIT_SUCCESS;
  }
#endif
  return all.failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

// A fault of the shim is a failure of its family; the others go on.
void run(const char* name, void (*checks)()) {
  begin_family(name);
  try {
    checks();
  } catch (const std::exception& error) {
    expect(false, error.what());
  }
}

}  // namespace
}  // namespace check

int main() {
  using namespace check;
  run("shim", shim_faults);
  run("plan", plans);
  run("products", products);
  run("slab products", slab_products);
  run("samples", samples);
  run("slab samples", slab_samples);
  run("core gradient", core_gradients);
  run("row dots", row_dots);
  run("column sums", column_sums);
  run("biases", biases);
  run("casts", casts);
  run("optimisers", optimisers);
  return report();
}
