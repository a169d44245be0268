#include <atomic>
#include <cstring>
#include <numeric>
#include <thread>

#include "check.h"

namespace sigma::check {
namespace {

std::vector<int> counted(size_t count, int from) {
  std::vector<int> values(count);
  std::iota(values.begin(), values.end(), from);
  return values;
}

// Sizes around and above the staging chunks.
void check_round_trips(sigma_context* context) {
  for (const size_t count : {size_t{1}, size_t{255}, size_t{1} << 20, (size_t{1} << 20) + 1, (size_t{5} << 20) + 3}) {
    const std::vector<int> values = counted(count, 7);
    const DeviceBuffer buffer(context, values);
    expect(reinterpret_cast<uintptr_t>(buffer.data()) % 256 == 0, "allocate: alignment");
    expect(buffer.values<int>(count) == values, "download after upload");
    const DeviceBuffer other(context, count * sizeof(int));
    expect_ok(backend->copy(context, other.data(), buffer.data(), count * sizeof(int)), "copy");
    expect(other.values<int>(count) == values, "copy");
    expect_ok(backend->zero(context, other.data(), count * sizeof(int)), "zero");
    expect(other.values<int>(count) == std::vector<int>(count), "zero");
  }
}

// Many small uploads share a chunk. The host memory may be overwritten at once.
void check_small_uploads(sigma_context* context) {
  std::vector<DeviceBuffer> buffers;
  int value = 0;
  for (int i = 0; i < 3000; ++i) {
    value = i;
    buffers.emplace_back(context, sizeof(int));
    expect_ok(backend->upload(context, buffers.back().data(), &value, sizeof(int)), "upload");
  }
  for (size_t i = 0; i < buffers.size(); i += 100) {
    expect(buffers[i].values<int>(1)[0] == static_cast<int>(i), "small uploads");
  }
}

void check_copy_matrix(sigma_context* context) {
  const std::vector<int> from = counted(5 * 9, 0);
  const DeviceBuffer source(context, from), target(context, std::vector<int>(5 * 11, -1));
  const sigma_matrix a = {source.data(), 5, 7, 9, SIGMA_FLOAT32, nullptr};
  const sigma_matrix b = {target.data(), 5, 7, 11, SIGMA_FLOAT32, nullptr};
  expect_ok(run(context, backend->copy_matrix, {a, b}), "copy_matrix");
  const std::vector<int> found = target.values<int>(5 * 11);
  for (int i = 0; i < 5; ++i) {
    for (int j = 0; j < 11; ++j) {
      expect(found[static_cast<size_t>(i * 11 + j)] == (j < 7 ? i * 9 + j : -1), "copy_matrix: entries");
    }
  }
}

void check_scratch(sigma_context* context) {
  void* memory = nullptr;
  for (const size_t bytes : {size_t{1}, size_t{100}, size_t{10} << 20, size_t{5}}) {
    expect_ok(backend->reserve(context, bytes, &memory), "reserve");
    expect(reinterpret_cast<uintptr_t>(memory) % 64 == 0, "reserve: alignment");
    expect_ok(backend->zero(context, memory, bytes), "reserve: the memory is writable");
  }
}

void check_out_of_memory(sigma_context* context) {
  const std::vector<int> values = counted(1000, 3);
  const DeviceBuffer buffer(context, values);
  {
    const Setting limit("SIGMA_SIMULATED_MEMORY", std::to_string(64 << 20));
    void* memory = nullptr;
    expect_failure(backend->allocate(context, size_t{100} << 20, &memory), SIGMA_OUT_OF_MEMORY,
                   "no memory left for 100 MiB", "an allocation beyond the device's memory");
    expect_failure(backend->reserve(context, size_t{100} << 20, &memory), SIGMA_OUT_OF_MEMORY, "no memory left",
                   "scratch beyond the device's memory");
    expect_ok(backend->reserve(context, 1 << 20, &memory), "scratch after a failure");
    const DeviceBuffer other(context, 1 << 20);
  }
  expect(buffer.values<int>(1000) == values, "memory after a failure");
}

// Split sums still succeed without memory for partial sums.
void check_sums_without_scratch() {
  constexpr int64_t kLong = 20000, kShort = 40;
  const Context context;  // has no scratch memory yet
  const DeviceBuffer numbers(context, std::vector<float>(kLong * kShort, 1.0f));
  const DeviceBuffer sums(context, std::vector<float>(kShort, 1.0f));
  const sigma_matrix tall = dense_matrix(SIGMA_FLOAT32, numbers.data(), kLong, kShort);
  const sigma_matrix wide = dense_matrix(SIGMA_FLOAT32, numbers.data(), kShort, kLong);
  {
    const Setting limit("SIGMA_SIMULATED_MEMORY", "1");
    expect_ok(run(context, backend->column_sums, {SIGMA_REAL32, tall, sums.data(), 0}), "column_sums without scratch");
    expect_ok(run(context, backend->row_dots, {SIGMA_REAL32, wide, wide, nullptr, nullptr, sums.data(), 0}),
              "row_dots without scratch");
  }
  expect(sums.values<float>(kShort) == std::vector<float>(kShort, 2 * kLong + 1), "sums without scratch");
}

// Another thread downloads while this one queues work.
void check_two_threads(sigma_context* context) {
  const size_t count = (size_t{2} << 20) + 5;
  const std::vector<int> values = counted(count, 1);
  const DeviceBuffer buffer(context, values);
  std::atomic<bool> same = true;
  std::thread reader([&] {
    std::vector<int> host(count);
    for (int turn = 0; turn < 5; ++turn) {
      same = same && backend->download(context, host.data(), buffer.data(), count * sizeof(int)) == SIGMA_OK &&
             host == values && backend->synchronize(context) == SIGMA_OK;
    }
  });
  for (int turn = 0; turn < 50; ++turn) {
    const DeviceBuffer other(context, counted(5000, turn));
    expect_ok(backend->zero(context, other.data(), 100), "zero");
  }
  reader.join();
  expect(same, "a download by another thread");
}

}  // namespace

void check_memory() {
  for (const char* const pools : {"1", "0"}) {
    const Setting setting("SIGMA_SIMULATED_POOLS", pools);
    const Context context;
    check_round_trips(context);
    check_small_uploads(context);
    check_copy_matrix(context);
    check_scratch(context);
    check_out_of_memory(context);
    check_sums_without_scratch();
    check_two_threads(context);
  }
}

void check_failures() {
  const Context context;
  const DeviceBuffer buffer(context, 1024);
  const sigma_matrix square = dense_matrix(SIGMA_FLOAT32, buffer.data(), 4, 4);
  const sigma_gemm product{SIGMA_REAL32, 0, 0, 1, square, square, square, nullptr};
  expect_ok(backend->synchronize(context), "synchronize");
  expect_ok(backend->zero(context, buffer.data(), 1024), "zero");
  expect_ok(run(context, backend->gemm, product), "gemm");
  {
    const Setting error("SIGMA_SIMULATED_ERROR", "700");
    expect_failure(backend->synchronize(context), SIGMA_NATIVE,
                   "an illegal memory access was encountered (CUDA error 700), in work queued since the last wait: "
                   "zero, gemm",
                   "a device failure");
    expect_ok(backend->zero(context, buffer.data(), 1024), "zero");
    char host[1024];
    expect_failure(backend->download(context, host, buffer.data(), 1024), SIGMA_NATIVE, "since the last wait: zero",
                   "a device failure reported by download");
  }
  expect_ok(backend->synchronize(context), "synchronize after a failure");

  sigma_context* none = nullptr;
  expect_failure(backend->create_context(backend->device_count(), &none), SIGMA_INVALID_ARGUMENT, "expected a device",
                 "a device that does not exist");
  sigma_device info = {};
  expect_ok(backend->device_info(0, &info), "device_info");
  expect(std::string(info.uuid) == "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f", "the device's UUID");
  expect(std::string(info.name) == "simulated device" && info.memory_bytes > 0, "device_info");
}

}  // namespace sigma::check
