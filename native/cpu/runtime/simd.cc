#include "cpu/runtime/simd.h"

#include <cstdlib>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "cpu/runtime/target.h"

namespace sigma::cpu {
namespace {

inline __attribute__((always_inline)) float sigma_sqrt(float x) { return __builtin_sqrtf(x); }
inline __attribute__((always_inline)) double sigma_sqrt(double x) { return __builtin_sqrt(x); }

#define SIGMA_VECTOR_BYTES 16
namespace baseline32 {
using T = float;
using S = T;
#include "cpu/runtime/vectors.inc"
//
#include "cpu/runtime/rows.inc"
//
#include "cpu/runtime/kernels.inc"
}  // namespace baseline32
namespace baseline16 {
using T = float;
using S = bfloat16;
#include "cpu/runtime/vectors.inc"
//
#include "cpu/runtime/rows.inc"
}  // namespace baseline16
namespace baselinehalf {
using T = float;
using S = float16;
#include "cpu/runtime/vectors.inc"
//
#include "cpu/runtime/rows.inc"
}  // namespace baselinehalf
namespace baseline64 {
using T = double;
using S = T;
#include "cpu/runtime/vectors.inc"
//
#include "cpu/runtime/rows.inc"
//
#include "cpu/runtime/kernels.inc"
}  // namespace baseline64
#undef SIGMA_VECTOR_BYTES

#if defined(__x86_64__)
#define SIGMA_X86 1

SIGMA_TARGET(SIGMA_AVX2)
#define SIGMA_VECTOR_BYTES 32
namespace avx2_32 {
using T = float;
using S = T;
#include "cpu/runtime/vectors.inc"
//
#include "cpu/runtime/rows.inc"
//
#include "cpu/runtime/kernels.inc"
}  // namespace avx2_32
namespace avx2_16 {
using T = float;
using S = bfloat16;
#include "cpu/runtime/vectors.inc"
//
#include "cpu/runtime/rows.inc"
}  // namespace avx2_16
namespace avx2_half {
using T = float;
using S = float16;
#include "cpu/runtime/vectors.inc"
//
#include "cpu/runtime/rows.inc"
}  // namespace avx2_half
namespace avx2_64 {
using T = double;
using S = T;
#include "cpu/runtime/vectors.inc"
//
#include "cpu/runtime/rows.inc"
//
#include "cpu/runtime/kernels.inc"
}  // namespace avx2_64
#undef SIGMA_VECTOR_BYTES
SIGMA_END_TARGET

SIGMA_TARGET(SIGMA_AVX512)
#define SIGMA_VECTOR_BYTES 64
namespace avx512_32 {
using T = float;
using S = T;
#include "cpu/runtime/vectors.inc"
//
#include "cpu/runtime/rows.inc"
//
#include "cpu/runtime/kernels.inc"
}  // namespace avx512_32
namespace avx512_16 {
using T = float;
using S = bfloat16;
#include "cpu/runtime/vectors.inc"
//
#include "cpu/runtime/rows.inc"
}  // namespace avx512_16
namespace avx512_half {
using T = float;
using S = float16;
#include "cpu/runtime/vectors.inc"
//
#include "cpu/runtime/rows.inc"
}  // namespace avx512_half
namespace avx512_64 {
using T = double;
using S = T;
#include "cpu/runtime/vectors.inc"
//
#include "cpu/runtime/rows.inc"
//
#include "cpu/runtime/kernels.inc"
}  // namespace avx512_64
#undef SIGMA_VECTOR_BYTES
SIGMA_END_TARGET
#endif

#ifdef SIGMA_X86
// __builtin_cpu_supports would need a run-time library of the compiler that zig does not have.
Level machine_level() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kFma = 1u << 12, kOsxsave = 1u << 27, kAvx = 1u << 28, kF16c = 1u << 29;
  constexpr unsigned kFirst = kFma | kOsxsave | kAvx | kF16c;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & kFirst) != kFirst) return Level::baseline;
  // Which registers the system saves when it switches threads.
  unsigned saved = 0, high = 0;
  __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
  constexpr unsigned kYmm = 0x06, kZmm = 0xe6;
  constexpr unsigned kAvx2 = 1u << 5, kAvx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // F, DQ, BW, VL
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return Level::baseline;
  if ((saved & kYmm) != kYmm || (ebx & kAvx2) == 0) return Level::baseline;
  if ((saved & kZmm) != kZmm || (ebx & kAvx512) != kAvx512) return Level::avx2;
  constexpr unsigned kBfloat16 = 1u << 5;
  if (__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) == 0) return Level::avx512;
  return (eax & kBfloat16) != 0 ? Level::avx512bf16 : Level::avx512;
}
#else
Level machine_level() { return Level::baseline; }
#endif

constexpr const char* kNames[] = {"baseline", "avx2", "avx512", "avx512bf16"};

// SIGMATUNE_SIMD can only lower the level, so that one machine can test every level.
Level chosen_level() {
  const Level best = machine_level();
  const char* const asked = std::getenv("SIGMATUNE_SIMD");
  if (asked == nullptr) return best;
  for (int i = 0; i < static_cast<int>(best); ++i) {
    if (std::strcmp(asked, kNames[i]) == 0) return static_cast<Level>(i);
  }
  return best;
}

}  // namespace

Level level() {
  static const Level chosen = chosen_level();
  return chosen;
}

// The table of the level, for numbers of `bits` bits; `half` is float16.
#ifdef SIGMA_X86
#define SIGMA_BEST(bits, table)                   \
  level() >= Level::avx512 ? avx512_##bits::table \
                           : (level() >= Level::avx2 ? avx2_##bits::table : baseline##bits::table)
#else
#define SIGMA_BEST(bits, table) baseline##bits::table
#endif
template <>
const Kernels<float>& kernels<float>() {
  return SIGMA_BEST(32, kernel_table);
}
template <>
const Kernels<double>& kernels<double>() {
  return SIGMA_BEST(64, kernel_table);
}
template <>
const RowKernels<float>& row_kernels<float>() {
  return SIGMA_BEST(32, row_table);
}
template <>
const RowKernels<double>& row_kernels<double>() {
  return SIGMA_BEST(64, row_table);
}
template <>
const RowKernels<bfloat16>& row_kernels<bfloat16>() {
  return SIGMA_BEST(16, row_table);
}
template <>
const RowKernels<float16>& row_kernels<float16>() {
  return SIGMA_BEST(half, row_table);
}

const char* simd_level() { return kNames[static_cast<int>(level())]; }

}  // namespace sigma::cpu
