#include "cpu/gemm/panels.h"

#include <utility>

#include "cpu/runtime/simd.h"
#include "cpu/runtime/target.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define SIGMA_X86 1
#endif
// clang has no push_options, so it cannot compile AVX512-BF16's intrinsics for one namespace.
#if defined(SIGMA_X86) && !defined(__clang__)
#define SIGMA_PAIRS 1
#endif

namespace sigma::cpu {
namespace {

using T = float;

#define SIGMA_VECTOR_BYTES 16
namespace baseline {
#include "cpu/runtime/vectors.inc"
//
#include "cpu/gemm/panels.inc"
}  // namespace baseline
#undef SIGMA_VECTOR_BYTES

#ifdef SIGMA_X86
SIGMA_TARGET(SIGMA_AVX2)
#define SIGMA_VECTOR_BYTES 32
namespace avx2 {
#include "cpu/runtime/vectors.inc"
//
#include "cpu/gemm/panels.inc"
}  // namespace avx2
#undef SIGMA_VECTOR_BYTES
SIGMA_END_TARGET

SIGMA_TARGET(SIGMA_AVX512)
#define SIGMA_VECTOR_BYTES 64
namespace avx512 {
#include "cpu/runtime/vectors.inc"
//
#include "cpu/gemm/panels.inc"
}  // namespace avx512
#undef SIGMA_VECTOR_BYTES
SIGMA_END_TARGET
#endif

#ifdef SIGMA_PAIRS
SIGMA_TARGET("avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,fma,f16c,prefer-vector-width=512")
#define SIGMA_VECTOR_BYTES 64
namespace avx512bf16 {
#include "cpu/runtime/vectors.inc"
//
#include "cpu/gemm/panels.inc"
//
#include "cpu/gemm/pairs.inc"
}  // namespace avx512bf16
#undef SIGMA_VECTOR_BYTES
SIGMA_END_TARGET
#endif

}  // namespace

const Panels& panels([[maybe_unused]] bool bfloat16_only) {
#ifdef SIGMA_PAIRS
  if (bfloat16_only && level() >= Level::avx512bf16) return avx512bf16::pairs;
#endif
#ifdef SIGMA_X86
  if (level() >= Level::avx512) return avx512::table;
  if (level() >= Level::avx2) return avx2::table;
#endif
  return baseline::table;
}

}  // namespace sigma::cpu
