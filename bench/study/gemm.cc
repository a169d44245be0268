// The matrix product by OpenBLAS, by the package's own panels, and by oneDNN, in float32 and in bfloat16, in GFLOP/s of
// one thread's processor time. From the repository's root (Debian: libopenblas-serial-dev, libdnnl-dev):
//   g++ -std=c++20 -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -Inative bench/study/gemm.cc
//     -DSIGMA_WRAP_OPENBLAS=1 native/cpu/*.cc native/cpu/*/*.cc -l:openblas-serial/libopenblas.a -ldnnl -lpthread
//     -Wl,--wrap=blas_memory_alloc,--wrap=blas_memory_free -o build/gemm && OMP_NUM_THREADS=1 build/gemm
// SIGMATUNE_SIMD=avx512, avx2 or baseline selects the panels of a lower instruction set.
#include <cblas.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <functional>
#include <oneapi/dnnl/dnnl.hpp>
#include <random>
#include <vector>

#include "cpu/gemm/packed.h"
#include "cpu/ops.h"
#include "cpu/runtime/pool.h"
#include "cpu/runtime/simd.h"

namespace {

using namespace sigma::cpu;

double seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// C (m, n) = A op(B), or Aᵀ op(B).
struct Shape {
  int64_t m, n, k;
  bool ta, tb;
};

constexpr Shape kShapes[] = {{512, 768, 768, false, true},   {2048, 768, 768, false, true},
                             {768, 512, 768, false, true},   {512, 768, 768, true, true},
                             {512, 768, 768, true, false},   {512, 3072, 768, false, true},
                             {512, 4096, 4096, false, true}, {1, 4096, 4096, false, true},
                             {8, 4096, 4096, false, true},   {512, 768, 8, false, true}};

std::vector<uint16_t> narrowed(const std::vector<float>& from) {
  std::vector<uint16_t> to(from.size());
  row_kernels<bfloat16>().narrow(static_cast<int64_t>(from.size()), from.data(),
                                 reinterpret_cast<bfloat16*>(to.data()));
  return to;
}

void compare(const Shape& s) {
  const auto [m, n, k, ta, tb] = s;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<float> a(m * k), b(k * n), c(m * n);
  for (auto* each : {&a, &b}) std::generate(each->begin(), each->end(), [&] { return normal(random); });
  std::vector<uint16_t> half_a = narrowed(a), half_b = narrowed(b), half_c(c.size());

  const auto call = [&](sigma_dtype dtype, void* left, void* right, void* out) {
    const auto matrix = [&](void* data, bool transposed, int64_t rows, int64_t columns) {
      return transposed ? sigma_matrix{data, columns, rows, rows, dtype, nullptr}
                        : sigma_matrix{data, rows, columns, columns, dtype, nullptr};
    };
    return sigma_gemm{
        SIGMA_REAL32, ta, tb, 0, matrix(left, ta, m, k), matrix(right, tb, k, n), matrix(out, false, m, n), nullptr};
  };
  const sigma_gemm single = call(SIGMA_FLOAT32, a.data(), b.data(), c.data());
  const sigma_gemm half = call(SIGMA_BFLOAT16, half_a.data(), half_b.data(), half_c.data());

  static dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  static dnnl::stream stream(engine);
  const auto onednn = [&](const sigma_gemm& of) -> std::function<void()> {
    using dnnl::memory;
    const auto type = of.a.dtype == SIGMA_FLOAT32 ? memory::data_type::f32 : memory::data_type::bf16;
    const auto layout = [](bool transposed) { return transposed ? memory::format_tag::ba : memory::format_tag::ab; };
    const memory::desc left({m, k}, type, layout(ta)), right({k, n}, type, layout(tb)),
        out({m, n}, type, layout(false));
    const dnnl::matmul product(dnnl::matmul::primitive_desc(dnnl::matmul::desc(left, right, out), engine));
    const std::unordered_map<int, memory> operands = {{DNNL_ARG_SRC, memory(left, engine, of.a.data)},
                                                      {DNNL_ARG_WEIGHTS, memory(right, engine, of.b.data)},
                                                      {DNNL_ARG_DST, memory(out, engine, of.c.data)}};
    return [=] {
      product.execute(stream, operands);
      stream.wait();
    };
  };

  const std::pair<const char*, std::function<void()>> sides[] = {{"OpenBLAS float32", [&] { gemm(single); }},
                                                                 {"panels float32", [&] { multiply_packed(single); }},
                                                                 {"oneDNN float32", onednn(single)},
                                                                 {"panels bfloat16", [&] { gemm(half); }},
                                                                 {"oneDNN bfloat16", onednn(half)}};
  constexpr int kSides = 5;
  double best[kSides];
  std::fill(best, best + kSides, 1e9);
  const double flops = 2.0 * static_cast<double>(m * n * k);
  const int repeats = static_cast<int>(std::max(1.0, 1e9 / flops));
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < kSides; ++i) {
      sides[i].second();
      const double start = seconds();
      for (int r = 0; r < repeats; ++r) sides[i].second();
      best[i] = std::min(best[i], (seconds() - start) / repeats);
    }
  }
  std::printf("%5ld x %5ld x %5ld %s%s", m, n, k, ta ? "T" : "N", tb ? "T" : "N");
  for (int i = 0; i < kSides; ++i) std::printf("   %s %4.0f", sides[i].first, 1e-9 * flops / best[i]);
  std::printf("\n");
}

}  // namespace

int main() {
  set_threads(1);
  openblas_set_num_threads(1);
  std::printf("%s, %s\n", simd_level(), openblas_get_config());
  for (const Shape& shape : kShapes) compare(shape);
}
