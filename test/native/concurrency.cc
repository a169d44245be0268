// Concurrent callers, each with its own context, while the number of threads changes. For the thread sanitizer; also
// checks that results do not depend on threads.
#include <thread>

#include "harness.h"

namespace check {

void concurrency() {
  const sigma_backend& backend = *sigma_cpu_backend();
  constexpr int64_t kSize = 160, kTokens = 600, kEntries = 2000;
  const Pattern pattern(kSize, kEntries, 30);
  const auto a = random_numbers<float>(kSize * kTokens, 31), b = random_numbers<float>(kSize * kTokens, 32);
  const auto values = random_numbers<float>(kEntries, 33), square = random_numbers<float>(kSize * kSize, 34);
  const sigma_core core = sparse_core<float>(pattern, values, nullptr, nullptr);

  struct Results {
    std::vector<float> product, samples, gram, singular;
  };
  const auto compute = [&] {
    sigma_context* context = nullptr;
    backend.create_context(0, &context);
    Results results{std::vector<float>(kSize * kTokens), std::vector<float>(kEntries),
                    std::vector<float>(kSize * kSize), std::vector<float>(3 * kSize)};
    const sigma_matrix left = view(a, kSize, kTokens), right = view(b, kSize, kTokens);
    const sigma_matrix out = view(results.product, kSize, kTokens), gram = view(results.gram, kSize, kSize);
    void* scratch = nullptr;
    backend.reserve(context, 1000, &scratch);
    run(context, backend.spmm, {SIGMA_REAL32, false, &core, left, out});
    run(context, backend.sddmm, {SIGMA_REAL32, &pattern.view, left, right, results.samples.data()});
    run(context, backend.gemm, {SIGMA_REAL32, false, true, false, left, right, gram, nullptr});
    std::vector<float> u(3 * kSize * kSize), vt(3 * kSize * kSize);
    std::vector<sigma_svd_problem> problems;
    for (int64_t i = 0; i < 3; ++i) {
      problems.push_back({square.data(), u.data() + i * kSize * kSize, results.singular.data() + i * kSize,
                          vt.data() + i * kSize * kSize, kSize, kSize, kSize});
    }
    int64_t failed = -1;
    run(context, backend.svd, {SIGMA_REAL32, SIGMA_SVD_AUTO, problems.data(), 3, &failed});
    backend.destroy_context(context);
    return results;
  };

  backend.set_threads(1);
  const Results want = compute();
  std::vector<Results> got(6);
  std::vector<std::thread> callers;
  for (size_t i = 0; i < got.size(); ++i) {
    callers.emplace_back([&, i] {
      backend.set_threads(static_cast<int32_t>(1 + i % 4));
      got[i] = compute();
    });
  }
  // Meanwhile an idle environment frees what is kept.
  sigma_context* idle = nullptr;
  backend.create_context(0, &idle);
  for (int i = 0; i < 200; ++i) {
    backend.trim(idle);
    backend.kept_bytes(idle);
    std::this_thread::yield();
  }
  for (std::thread& caller : callers) caller.join();
  backend.trim(idle);
  expect(backend.kept_bytes(idle) == 0, "nothing is kept after a trim");
  backend.destroy_context(idle);
  for (const Results& each : got) {
    expect(each.product == want.product, "spmm gives the same bits from any thread");
    expect(each.samples == want.samples, "sddmm gives the same bits from any thread");
    expect(each.gram == want.gram, "gemm gives the same bits from any thread");
    expect(each.singular == want.singular, "svd gives the same bits from any thread");
  }
}

}  // namespace check
