// Failures of NVIDIA's libraries: of a device that has failed, and under memory pressure.
#include "check.h"

namespace sigma::check {
namespace {

sigma_gemm square_product(const DeviceBuffer& buffer) {
  const sigma_matrix square = dense_matrix(SIGMA_FLOAT32, buffer.data(), 4, 4);
  return {SIGMA_REAL32, 0, 0, 0, square, square, square, nullptr};
}

// The library reports only that it failed. The cause is work that was queued before.
void check_earlier_fault() {
  const Context context;
  const DeviceBuffer buffer(context, 1024);
  expect_ok(run(context, backend->gemm, square_product(buffer)), "gemm");
  expect_ok(backend->synchronize(context), "synchronize");
  expect_ok(backend->zero(context, buffer.data(), 64), "zero");
  {
    const Setting error("SIGMA_SIMULATED_ERROR", "700");
    expect_failure(run(context, backend->gemm, square_product(buffer)), SIGMA_NATIVE,
                   "an illegal memory access was encountered (CUDA error 700), in work queued since the last wait: "
                   "zero, gemm",
                   "a product after a fault");
  }
  expect_ok(run(context, backend->gemm, square_product(buffer)), "gemm");
}

// A handle takes memory outside of the pool, so the pool has to return what it keeps.
void check_handles_under_pressure() {
  const Context context;
  const DeviceBuffer buffer(context, 1024);
  expect_ok(backend->synchronize(context), "synchronize");
  const Setting limit("SIGMA_SIMULATED_MEMORY", std::to_string(256 << 20));
  void* memory = nullptr;
  expect_ok(backend->allocate(context, size_t{250} << 20, &memory), "allocate");
  backend->release(context, memory);
  expect_ok(run(context, backend->gemm, square_product(buffer)), "a product while the pool keeps all memory");

  const Context other;
  std::vector<void*> all;
  for (size_t bytes = size_t{64} << 20; bytes >= (size_t{64} << 10); bytes /= 2) {
    while (backend->allocate(other, bytes, &memory) == SIGMA_OK) all.push_back(memory);
  }
  expect_failure(run(other, backend->gemm, square_product(buffer)), SIGMA_OUT_OF_MEMORY, "MiB of memory left",
                 "a product without memory for a handle");
  for (void* const each : all) backend->release(other, each);
}

// A warm step takes no memory from the driver, even if the model fills most of the device.
void check_growth() {
  const Setting limit("SIGMA_SIMULATED_MEMORY", std::to_string(1024 << 20));
  const Context context;
  const DeviceBuffer model(context, size_t{700} << 20);
  const auto step = [&] {
    const DeviceBuffer activation(context, size_t{64} << 20);
    expect_ok(backend->zero(context, activation.data(), size_t{64} << 20), "zero");
    expect_ok(backend->synchronize(context), "synchronize");
  };
  step();
  const uint64_t before = counts()->growths;
  for (int i = 0; i < 3; ++i) step();
  expect(counts()->growths == before, "a warm step takes no memory from the driver");
}

}  // namespace

void check_libraries() {
  check_earlier_fault();
  check_growth();
  check_handles_under_pressure();
}

}  // namespace sigma::check
