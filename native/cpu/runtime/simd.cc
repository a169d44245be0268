#include "cpu/runtime/simd.h"

#include <cstdlib>
#include <cstring>
#include <utility>

namespace sigma::cpu {
namespace {

inline __attribute__((always_inline)) float sigma_sqrt(float x) { return __builtin_sqrtf(x); }
inline __attribute__((always_inline)) double sigma_sqrt(double x) { return __builtin_sqrt(x); }

#define SIGMA_VECTOR_BYTES 16
namespace baseline32 {
using T = float;
using S = T;
#include "cpu/runtime/kernels.inc"
#include "cpu/runtime/rows.inc"
#include "cpu/runtime/vectors.inc"
}  // namespace baseline32
namespace baseline16 {
using T = float;
using S = bfloat16;
#include "cpu/runtime/rows.inc"
#include "cpu/runtime/vectors.inc"
}  // namespace baseline16
namespace baseline64 {
using T = double;
using S = T;
#include "cpu/runtime/kernels.inc"
#include "cpu/runtime/rows.inc"
#include "cpu/runtime/vectors.inc"
}  // namespace baseline64
#undef SIGMA_VECTOR_BYTES

#if defined(__x86_64__) && defined(__GNUC__)
#define SIGMA_X86 1

#pragma GCC push_options
#pragma GCC target("avx2,fma")
#define SIGMA_VECTOR_BYTES 32
namespace avx2_32 {
using T = float;
using S = T;
#include "cpu/runtime/kernels.inc"
#include "cpu/runtime/rows.inc"
#include "cpu/runtime/vectors.inc"
}  // namespace avx2_32
namespace avx2_16 {
using T = float;
using S = bfloat16;
#include "cpu/runtime/rows.inc"
#include "cpu/runtime/vectors.inc"
}  // namespace avx2_16
namespace avx2_64 {
using T = double;
using S = T;
#include "cpu/runtime/kernels.inc"
#include "cpu/runtime/rows.inc"
#include "cpu/runtime/vectors.inc"
}  // namespace avx2_64
#undef SIGMA_VECTOR_BYTES
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512vl,avx512dq,avx512bw,fma,prefer-vector-width=512")
#define SIGMA_VECTOR_BYTES 64
namespace avx512_32 {
using T = float;
using S = T;
#include "cpu/runtime/kernels.inc"
#include "cpu/runtime/rows.inc"
#include "cpu/runtime/vectors.inc"
}  // namespace avx512_32
namespace avx512_16 {
using T = float;
using S = bfloat16;
#include "cpu/runtime/rows.inc"
#include "cpu/runtime/vectors.inc"
}  // namespace avx512_16
namespace avx512_64 {
using T = double;
using S = T;
#include "cpu/runtime/kernels.inc"
#include "cpu/runtime/rows.inc"
#include "cpu/runtime/vectors.inc"
}  // namespace avx512_64
#undef SIGMA_VECTOR_BYTES
#pragma GCC pop_options
#endif

Level machine_level() {
#ifdef SIGMA_X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw")) {
    return __builtin_cpu_supports("avx512bf16") ? Level::avx512bf16 : Level::avx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return Level::avx2;
#endif
  return Level::baseline;
}

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

// The table of the level, for numbers of so many bits.
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

const char* simd_level() { return kNames[static_cast<int>(level())]; }

}  // namespace sigma::cpu
