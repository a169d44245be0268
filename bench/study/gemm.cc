// The matrix product by OpenBLAS, by the package's own panels, by oneDNN and by LIBXSMM, in float32 and in bfloat16, in
// GFLOP/s of one thread's processor time. From the repository's root (Debian: libopenblas-serial-dev, libdnnl-dev,
// libxsmm-dev):
//   g++ -std=c++20 -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -Inative bench/study/gemm.cc
//     -DSIGMA_WRAP_OPENBLAS=1 native/cpu/*.cc native/cpu/*/*.cc -lxsmm -lxsmmnoblas -l:openblas-serial/libopenblas.a
//     -ldnnl -lpthread -ldl -Wl,--wrap=blas_memory_alloc,--wrap=blas_memory_free -o build/gemm && OMP_NUM_THREADS=1
//     build/gemm
// SIGMATUNE_SIMD=avx512, avx2 or baseline selects the panels of a lower instruction set.
#include <libxsmm.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <functional>
#include <oneapi/dnnl/dnnl.hpp>
#include <random>
#include <vector>

#include "cpu/gemm/blas_library.h"
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

// LIBXSMM has kernels for small matrices, so tiles are ours: the product of a row of blocks of op(A) with a column of
// blocks of op(B), summed in one call. All operands by columns, as LIBXSMM wants them: C is (n, m) there, so op(B) is
// its first operand. Blocks are packed, as pairs of k in bfloat16, except those of an A that is not transposed. The
// result is float32.
template <class T>
class Xsmm {
 public:
  static constexpr int kSide = 64;
  Xsmm(const Shape& s, const T* a, const T* b, float* c)
      : s_(s), a_(a), b_(b), c_(c), depth_(static_cast<int>(std::min<int64_t>(s.k, kSide))),
        rows_(static_cast<int>(std::min<int64_t>(s.m, kSide))), packed_b_(s.n * s.k), packed_a_(s.ta ? s.m * s.k : 0) {
    const libxsmm_blasint lda = kSide, ldb = s.ta ? depth_ : static_cast<int>(s.k), ldc = static_cast<int>(s.n);
    const float one = 1, zero = 0;
    const int flags = LIBXSMM_GEMM_FLAG_NONE, prefetch = LIBXSMM_GEMM_PREFETCH_NONE;
    if constexpr (sizeof(T) == 4) {
      kernel_ =
          libxsmm_smmdispatch_reducebatch_addr(kSide, rows_, depth_, &lda, &ldb, &ldc, &one, &zero, &flags, &prefetch);
    } else {
      kernel_ =
          libxsmm_bsmmdispatch_reducebatch_addr(kSide, rows_, depth_, &lda, &ldb, &ldc, &one, &zero, &flags, &prefetch);
    }
  }
  bool usable() const { return kernel_ != nullptr && s_.m % rows_ == 0 && s_.n % kSide == 0 && s_.k % depth_ == 0; }

  void operator()() {
    const auto [m, n, k, ta, tb] = s_;
    const int64_t steps = k / depth_;
    const int64_t pair = sizeof(T) == 4 ? 1 : 2;
    // The block (kb, jb) of op(B) is (depth, 64), by rows, or by pairs of rows.
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t p = 0; p < k; ++p) {
        T* const block = packed_b_.data() + (j / kSide * steps + p / depth_) * kSide * depth_;
        block[(p % depth_ / pair * kSide + j % kSide) * pair + p % pair] = tb ? b_[j * k + p] : b_[p * n + j];
      }
    }
    if (ta) {
      for (int64_t p = 0; p < k; ++p) {
        for (int64_t i = 0; i < m; ++i) {
          packed_a_[(i / rows_ * steps + p / depth_) * rows_ * depth_ + i % rows_ * depth_ + p % depth_] =
              a_[p * m + i];
        }
      }
    }
    std::vector<const T*> left(steps), right(steps);
    const auto count = static_cast<unsigned long long>(steps);
    for (int64_t j = 0; j < n; j += kSide) {
      for (int64_t p = 0; p < steps; ++p) left[p] = packed_b_.data() + (j / kSide * steps + p) * kSide * depth_;
      for (int64_t i = 0; i < m; i += rows_) {
        for (int64_t p = 0; p < steps; ++p) {
          right[p] = ta ? packed_a_.data() + (i / rows_ * steps + p) * rows_ * depth_ : a_ + i * k + p * depth_;
        }
        kernel_(left.data(), right.data(), c_ + i * n + j, &count);
      }
    }
  }

 private:
  Shape s_;
  const T *a_, *b_;
  float* c_;
  int depth_, rows_;
  std::vector<T> packed_b_, packed_a_;
  std::conditional_t<sizeof(T) == 4, libxsmm_smmfunction_reducebatch_addr, libxsmm_bsmmfunction_reducebatch_addr>
      kernel_;
};

double difference(const std::vector<float>& a, const std::vector<float>& b) {
  double off = 0, size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    off += (a[i] - b[i]) * (a[i] - b[i]);
    size += a[i] * a[i];
  }
  return std::sqrt(off / size);
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

  std::vector<float> tiled(c.size());
  Xsmm<float> xsmm(s, a.data(), b.data(), tiled.data());
  Xsmm<libxsmm_bfloat16> half_xsmm(s, half_a.data(), half_b.data(), tiled.data());
  if (xsmm.usable() && half_xsmm.usable()) {
    gemm(single);
    xsmm();
    const double off = difference(c, tiled);
    half_xsmm();
    const double half_off = difference(c, tiled);
    if (!(off < 1e-5 && half_off < 1e-2)) std::printf("LIBXSMM is wrong by %g, %g\n", off, half_off);
  }
  // 0 in the table if it has no kernel.
  const auto if_usable = [](auto& side) {
    return std::function<void()>([&] {
      if (side.usable()) side();
    });
  };
  const std::pair<const char*, std::function<void()>> sides[] = {
      {"OpenBLAS float32", [&] { gemm(single); }}, {"panels float32", [&] { multiply_packed(single); }},
      {"oneDNN float32", onednn(single)},          {"panels bfloat16", [&] { gemm(half); }},
      {"oneDNN bfloat16", onednn(half)},           {"LIBXSMM float32", if_usable(xsmm)},
      {"LIBXSMM bfloat16", if_usable(half_xsmm)}};
  constexpr int kSides = 7;
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
  for (int i = 0; i < kSides; ++i) {
    const bool left_out = (i == 5 && !xsmm.usable()) || (i == 6 && !half_xsmm.usable());
    std::printf("   %s %4.0f", sides[i].first, left_out ? 0.0 : 1e-9 * flops / best[i]);
  }
  std::printf("\n");
}

}  // namespace

int main() {
  set_threads(1);
  use_one_blas_thread();
  std::printf("%s, %s, LIBXSMM for %s\n", simd_level(), blas_text(), libxsmm_get_target_arch());
  for (const Shape& shape : kShapes) compare(shape);
}
