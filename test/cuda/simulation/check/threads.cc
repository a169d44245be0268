// Several threads with their own contexts, like Node's workers. Each also runs SVDs.
#include <thread>

#include "check.h"

namespace sigma::check {
namespace {

bool multiply(sigma_context* context, int turn, int seed) {
  constexpr int kSize = 24;
  std::vector<float> equal(kSize * kSize, static_cast<float>(seed)), found(kSize * kSize);
  const size_t bytes = equal.size() * sizeof(float);
  void *a = nullptr, *c = nullptr;
  if (backend->allocate(context, bytes, &a) != SIGMA_OK || backend->allocate(context, bytes, &c) != SIGMA_OK)
    return false;
  const sigma_matrix x = dense_matrix(SIGMA_FLOAT32, a, kSize, kSize), y = dense_matrix(SIGMA_FLOAT32, c, kSize, kSize);
  const sigma_gemm call{SIGMA_REAL32, turn % 2, 0, 0, x, x, y, nullptr};
  bool right = backend->upload(context, a, equal.data(), bytes) == SIGMA_OK &&
               run(context, backend->gemm, call) == SIGMA_OK &&
               backend->download(context, found.data(), c, bytes) == SIGMA_OK;
  for (const float value : found) right = right && value == static_cast<float>(kSize * seed * seed);
  backend->release(context, a);
  backend->release(context, c);
  return right;
}

// SVDs of diagonal matrices, while another thread queues work on the same context.
bool decompose(sigma_context* context, int seed) {
  constexpr int64_t kSizes[] = {5, 34, 34, 36};
  std::vector<DeviceBuffer> buffers;
  std::vector<sigma_svd_problem> problems;
  for (const int64_t n : kSizes) {
    std::vector<float> a(static_cast<size_t>(n * n));
    for (int64_t i = 0; i < n; ++i) a[static_cast<size_t>(i * n + i)] = static_cast<float>(seed + i);
    buffers.emplace_back(context, a);
    const size_t bytes = a.size() * sizeof(float);
    for (int k = 0; k < 3; ++k) buffers.emplace_back(context, bytes);
    const DeviceBuffer* const own = &buffers[buffers.size() - 4];
    problems.push_back({own[0].data(), own[1].data(), own[2].data(), own[3].data(), n, n, n});
  }
  sigma_status status = SIGMA_NATIVE;
  std::thread solver([&] {
    int64_t failed = 0;
    status = run(context, backend->svd, {SIGMA_REAL32, SIGMA_SVD_AUTO, problems.data(), 4, &failed});
  });
  bool right = true;
  for (int turn = 0; turn < 10; ++turn) right = right && multiply(context, turn, seed);
  solver.join();
  for (size_t p = 0; p < problems.size(); ++p) {
    const auto count = static_cast<size_t>(kSizes[p]);
    const std::vector<float> s = buffers[4 * p + 2].values<float>(count);
    for (size_t i = 0; i < count; ++i) {
      const double wanted = static_cast<double>(seed) + static_cast<double>(count - 1 - i);
      right = right && std::abs(static_cast<double>(s[i]) - wanted) < 1e-4;
    }
  }
  return right && status == SIGMA_OK;
}

void work(int32_t device, int seed, bool& right) {
  sigma_context* context = nullptr;
  right = backend->create_context(device, &context) == SIGMA_OK;
  if (!right) return;
  for (int turn = 0; turn < 20; ++turn) right = right && multiply(context, turn, seed);
  right = right && decompose(context, seed);
  backend->destroy_context(context);
}

}  // namespace

void check_threads() {
  const int32_t devices = backend->device_count();
  constexpr int kThreads = 3;
  bool right[kThreads] = {};
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) {
    threads.emplace_back([&, i] { work(i % devices, i + 1, right[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  for (int i = 0; i < kThreads; ++i) expect(right[i], "thread " + std::to_string(i));
}

}  // namespace sigma::check
