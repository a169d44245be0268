#include "cpu/gemm/panels.h"

#include <utility>

#include "cpu/runtime/simd.h"
#include "cpu/runtime/target.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define SIGMA_X86 1
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

SIGMA_TARGET(SIGMA_AVX512BF16)
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
#ifdef SIGMA_X86
  if (bfloat16_only && level() >= Level::avx512bf16) return avx512bf16::pairs;
  if (level() >= Level::avx512) return avx512::table;
  if (level() >= Level::avx2) return avx2::table;
#endif
  return baseline::table;
}

}  // namespace sigma::cpu
