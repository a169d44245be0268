#include "cpu/runtime/simd.h"

#include <cstdlib>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace sigma::cpu {
namespace {

inline __attribute__((always_inline)) float sigma_sqrt(float x) { return __builtin_sqrtf(x); }
inline __attribute__((always_inline)) double sigma_sqrt(double x) { return __builtin_sqrt(x); }

#if defined(__clang__)
// No function of kernels.inc is called from another file, so it does not matter in which registers vectors are passed.
#pragma clang diagnostic ignored "-Wpsabi"
#endif

#define SIGMA_VECTOR_BYTES 16
namespace baseline32 {
using T = float;
#include "cpu/runtime/kernels.inc"
}  // namespace baseline32
namespace baseline64 {
using T = double;
#include "cpu/runtime/kernels.inc"
}  // namespace baseline64
#undef SIGMA_VECTOR_BYTES

#if defined(__x86_64__)
#define SIGMA_X86 1

// SIGMA_TARGET: the functions from here to SIGMA_END_TARGET are compiled for these instruction sets too.
#define SIGMA_PRAGMA(...) _Pragma(#__VA_ARGS__)
#if defined(__clang__)
#define SIGMA_TARGET(features) \
  SIGMA_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define SIGMA_END_TARGET _Pragma("clang attribute pop")
#define SIGMA_AVX512 "avx512f,avx512vl,avx512dq,avx512bw,fma"
#else
#define SIGMA_TARGET(features) _Pragma("GCC push_options") SIGMA_PRAGMA(GCC target(features))
#define SIGMA_END_TARGET _Pragma("GCC pop_options")
#define SIGMA_AVX512 "avx512f,avx512vl,avx512dq,avx512bw,fma,prefer-vector-width=512"
#endif

SIGMA_TARGET("avx2,fma")
#define SIGMA_VECTOR_BYTES 32
namespace avx2_32 {
using T = float;
#include "cpu/runtime/kernels.inc"
}  // namespace avx2_32
namespace avx2_64 {
using T = double;
#include "cpu/runtime/kernels.inc"
}  // namespace avx2_64
#undef SIGMA_VECTOR_BYTES
SIGMA_END_TARGET

SIGMA_TARGET(SIGMA_AVX512)
#define SIGMA_VECTOR_BYTES 64
namespace avx512_32 {
using T = float;
#include "cpu/runtime/kernels.inc"
}  // namespace avx512_32
namespace avx512_64 {
using T = double;
#include "cpu/runtime/kernels.inc"
}  // namespace avx512_64
#undef SIGMA_VECTOR_BYTES
SIGMA_END_TARGET
#endif

enum class Level { baseline, avx2, avx512 };

#ifdef SIGMA_X86
// __builtin_cpu_supports would need a run-time library of the compiler that zig does not have.
Level machine_level() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  constexpr unsigned kFma = 1u << 12, kOsxsave = 1u << 27, kAvx = 1u << 28;
  constexpr unsigned kFirst = kFma | kOsxsave | kAvx;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) == 0 || (ecx & kFirst) != kFirst) return Level::baseline;
  // Which registers the system saves when it switches threads.
  unsigned saved = 0, high = 0;
  __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
  constexpr unsigned kYmm = 0x06, kZmm = 0xe6;
  constexpr unsigned kAvx2 = 1u << 5, kAvx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31;  // F, DQ, BW, VL
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return Level::baseline;
  if ((saved & kYmm) != kYmm || (ebx & kAvx2) == 0) return Level::baseline;
  return (saved & kZmm) == kZmm && (ebx & kAvx512) == kAvx512 ? Level::avx512 : Level::avx2;
}
#else
Level machine_level() { return Level::baseline; }
#endif

// SIGMATUNE_SIMD can only lower the level, so that one machine can test every level.
Level chosen_level() {
  const Level best = machine_level();
  const char* const asked = std::getenv("SIGMATUNE_SIMD");
  if (asked == nullptr) return best;
  if (std::strcmp(asked, "baseline") == 0) return Level::baseline;
  if (std::strcmp(asked, "avx2") == 0 && best == Level::avx512) return Level::avx2;
  return best;
}

Level level() {
  static const Level chosen = chosen_level();
  return chosen;
}

}  // namespace

template <>
const Kernels<float>& kernels<float>() {
#ifdef SIGMA_X86
  if (level() == Level::avx512) return avx512_32::kernel_table;
  if (level() == Level::avx2) return avx2_32::kernel_table;
#endif
  return baseline32::kernel_table;
}

template <>
const Kernels<double>& kernels<double>() {
#ifdef SIGMA_X86
  if (level() == Level::avx512) return avx512_64::kernel_table;
  if (level() == Level::avx2) return avx2_64::kernel_table;
#endif
  return baseline64::kernel_table;
}

const char* simd_level() {
  switch (level()) {
    case Level::avx512: return "avx512";
    case Level::avx2: return "avx2";
    default: return "baseline";
  }
}

}  // namespace sigma::cpu
