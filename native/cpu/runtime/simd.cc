#include "cpu/runtime/simd.h"

#include <cstdlib>
#include <cstring>
#include <utility>

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

#if defined(__x86_64__) && defined(__GNUC__)
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

Level machine_level() {
#ifdef SIGMA_X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw")) {
    return Level::avx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Level::avx2;
#endif
  return Level::baseline;
}

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
