// kernel_check: runs every CUDA kernel on the host through its launcher, and compares with plain float64 loops.
//
// kernel_check --without-barriers disables barriers and runs the families whose kernels have barriers, each until it
// has failed. A family that does not fail does not test the barriers.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>

#include "families.h"
#include "harness.h"
#include "machine.h"

namespace check {
namespace {

struct Count {
  int passed = 0;
  int failed = 0;
};

std::map<std::string, Count> counts;
std::string family;

// Ends a family that has failed.
struct Enough {};
bool one_failure_is_enough = false;

}  // namespace

void begin_family(const char* name) { family = name; }

void expect(bool condition, const std::string& what) {
  constexpr int kPrinted = 5;
  Count& count = counts[family];
  ++(condition ? count.passed : count.failed);
  if (!condition && count.failed <= kPrinted) std::fprintf(stderr, "FAILED: %s: %s\n", family.c_str(), what.c_str());
}

// Not in `expect`, which destructors call.
void end_if_failed() {
  if (one_failure_is_enough && counts[family].failed > 0) throw Enough{};
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
  return all.failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

// A Fault fails its family; the other families still run.
void run(const char* name, void (*checks)()) {
  begin_family(name);
  try {
    checks();
  } catch (const std::exception& error) {
    expect(false, error.what());
  } catch (const Enough&) {
  }
}

struct Family {
  const char* name;
  void (*checks)();
  bool has_barriers = false;
};

constexpr Family kFamilies[] = {
    {"shim", shim_faults},
    {"plan", plans},
    {"products", products},
    {"slab products", slab_products, true},
    {"samples", samples},
    {"slab samples", slab_samples, true},
    {"core gradient", core_gradients, true},
    {"row dots", row_dots, true},
    {"column sums", column_sums, true},
    {"layer gradients", layer_gradients, true},
    {"biases", biases},
    {"casts", casts},
    {"optimisers", optimisers},
    {"norms", norms, true},
    {"means", means},
};

int check_all() {
  for (const Family& each : kFamilies) run(each.name, each.checks);
  return report();
}

int check_without_barriers() {
  sigma::cuda::shim::options.barriers = false;
  one_failure_is_enough = true;
  int status = EXIT_SUCCESS;
  for (const Family& each : kFamilies) {
    if (!each.has_barriers) continue;
    run(each.name, each.checks);
    const Count& count = counts[each.name];
    std::printf("%s without barriers: %s\n", each.name, count.failed > 0 ? "fails" : "PASSES");
    if (count.failed == 0) status = EXIT_FAILURE;
  }
  return status;
}

}  // namespace
}  // namespace check

int main(int count, char** arguments) {
  const bool without = count > 1 && std::strcmp(arguments[1], "--without-barriers") == 0;
  return without ? check::check_without_barriers() : check::check_all();
}
