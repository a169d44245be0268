#include <cblas.h>
#include <dlfcn.h>
#include <oneapi/dnnl/dnnl.hpp>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <vector>
#include "cpu/gemm/packed.h"
extern bool gemm_widened;
#include "cpu/ops.h"
#include "cpu/runtime/pool.h"
#include "cpu/runtime/simd.h"
namespace {
uint16_t narrow(float x) { uint32_t b; std::memcpy(&b, &x, 4); return uint16_t((b + 0x7fff + ((b >> 16) & 1)) >> 16); }
float wide(uint16_t x) { uint32_t b = uint32_t(x) << 16; float f; std::memcpy(&f, &b, 4); return f; }
sigma_matrix matrix(void* data, int64_t rows, int64_t columns, sigma_dtype dtype) { return {data, rows, columns, columns, dtype, nullptr}; }
}
int main(int argc, char** argv) {
  using namespace sigma::cpu;
  set_threads(argc > 1 ? atoi(argv[1]) : 2);
  printf("simd %s, OpenBLAS %s\n", simd_level(), openblas_get_config());
  openblas_set_num_threads(1);
  dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  struct Shape { int64_t m, n, k; bool ta, tb; };
  for (const Shape s : {Shape{512, 768, 768, false, true}, {2048, 768, 768, false, true}, {768, 512, 768, false, true}, {512,768,768,true,true}, {512, 768, 768, true, false}, {512, 3072, 768, false, true}, {512, 4096, 4096, false, true}, {1, 4096, 4096, false, true}, {8, 4096, 4096, false, true}, {512, 768, 8, false, true}}) {
    const auto [m, n, k, ta, tb] = s;
    std::mt19937 random(1);
    std::normal_distribution<float> normal;
    std::vector<uint16_t> a(m * k), b(k * n), c(m * n);
    std::vector<float> fa(m * k), fb(k * n), fc(m * n), bias(n);
    for (size_t i = 0; i < a.size(); ++i) fa[i] = wide(a[i] = narrow(normal(random)));
    for (size_t i = 0; i < b.size(); ++i) fb[i] = wide(b[i] = narrow(normal(random)));
    const int64_t ar = ta ? k : m, ac = ta ? m : k, br = tb ? n : k, bc = tb ? k : n;
    auto ours = [&] { gemm({SIGMA_REAL32, ta, tb, false, matrix(fa.data(), ar, ac, SIGMA_FLOAT32), matrix(fb.data(), br, bc, SIGMA_FLOAT32), matrix(fc.data(), m, n, SIGMA_FLOAT32), nullptr}); };
    auto half = [&] { multiply_packed({SIGMA_REAL32, ta, tb, false, matrix(a.data(), ar, ac, SIGMA_BFLOAT16), matrix(b.data(), br, bc, SIGMA_BFLOAT16), matrix(c.data(), m, n, SIGMA_BFLOAT16), nullptr}); };
    auto single = [&] { multiply_packed({SIGMA_REAL32, ta, tb, false, matrix(fa.data(), ar, ac, SIGMA_FLOAT32), matrix(fb.data(), br, bc, SIGMA_FLOAT32), matrix(fc.data(), m, n, SIGMA_FLOAT32), nullptr}); };
    using tag = dnnl::memory::format_tag; using dt = dnnl::memory::data_type;
    auto dnn = [&](dt type, void* pa, void* pb, void* pc) {
      dnnl::memory::desc da({m, k}, type, ta ? tag::ba : tag::ab), db({k, n}, type, tb ? tag::ba : tag::ab), dc({m, n}, type, tag::ab);
      dnnl::matmul::primitive_desc pd(dnnl::matmul::desc(da, db, dc), engine);
      dnnl::matmul p(pd);
      dnnl::memory ma(da, engine, pa), mb(db, engine, pb), mc(dc, engine, pc);
      return std::function<void()>([=, &stream]() mutable { p.execute(stream, {{DNNL_ARG_SRC, ma}, {DNNL_ARG_WEIGHTS, mb}, {DNNL_ARG_DST, mc}}); stream.wait(); });
    };
    std::vector<uint16_t> dc(m * n); std::vector<float> dfc(m * n);
    std::vector<std::pair<const char*, std::function<void()>>> sides = {{"BLAS f32", ours}, {"own f32", single}, {"oneDNN f32", dnn(dt::f32, fa.data(), fb.data(), dfc.data())}, {"own bf16", half}, {"widened", [&] { gemm_widened = true; half(); gemm_widened = false; }}, {"oneDNN bf16", dnn(dt::bf16, a.data(), b.data(), dc.data())}};
    std::vector<double> best(sides.size(), 1e9), total(sides.size(), 0);
    for (int round = 0; round < 5; ++round) for (size_t i = 0; i < sides.size(); ++i) {
      const int repeats = int(std::max(1.0, 1e9 / (2.0 * m * n * k)));
      sides[i].second();
      auto now = [] { timespec t; clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t); return double(t.tv_sec) + 1e-9 * double(t.tv_nsec); };
      double start = now();
      for (int r = 0; r < repeats; ++r) sides[i].second();
      best[i] = std::min(best[i], (now() - start) / repeats);
    }
    double worst = 0, worst_single = 0, worst_d = 0;
    ours(); auto reference = fc; single();
    double scale = std::sqrt(double(k));
    for (size_t i = 0; i < c.size(); ++i) { worst = std::max(worst, std::abs(double(wide(c[i])) - reference[i]) / (scale)); worst_single = std::max(worst_single, std::abs(double(fc[i]) - reference[i]) / scale);worst_d = std::max(worst_d, std::abs(double(wide(dc[i])) - reference[i]) / (scale)); }
    printf("%5ld x %5ld x %5ld %d%d", m, n, k, ta, tb);
    for (size_t i = 0; i < sides.size(); ++i) printf("  %s %5.0f", sides[i].first, 2e-9 * m * n * k / best[i]);
    printf("   error %.1e %.1e %.1e\n", worst, worst_single, worst_d);
    fflush(stdout);
  }
}
