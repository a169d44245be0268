// Functions that are compiled for more instruction sets than the rest of the file.
#pragma once

// SIGMA_TARGET: the functions from there to SIGMA_END_TARGET are compiled for these instruction sets too.
#define SIGMA_PRAGMA(...) _Pragma(#__VA_ARGS__)
#if defined(__clang__)
#define SIGMA_TARGET(features) \
  SIGMA_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define SIGMA_END_TARGET _Pragma("clang attribute pop")
#define SIGMA_AVX2 "avx2,fma,f16c"
// From clang 18 to 21, registers of 512 bits are a feature of their own, which zig leaves out unless it is asked for.
#if __clang_major__ >= 18 && __clang_major__ < 22 && !defined(__apple_build_version__)
#define SIGMA_AVX512 "avx512f,avx512vl,avx512dq,avx512bw,evex512,fma,f16c"
#define SIGMA_AVX512BF16 "avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,evex512,fma,f16c"
#else
#define SIGMA_AVX512 "avx512f,avx512vl,avx512dq,avx512bw,fma,f16c"
#define SIGMA_AVX512BF16 "avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,fma,f16c"
#endif
#else
#define SIGMA_TARGET(features) _Pragma("GCC push_options") SIGMA_PRAGMA(GCC target(features))
#define SIGMA_END_TARGET _Pragma("GCC pop_options")
#define SIGMA_AVX2 "avx2,fma,f16c"
#define SIGMA_AVX512 "avx512f,avx512vl,avx512dq,avx512bw,fma,f16c,prefer-vector-width=512"
#define SIGMA_AVX512BF16 "avx512f,avx512vl,avx512dq,avx512bw,avx512bf16,fma,f16c,prefer-vector-width=512"
#endif

#if defined(__clang__)
// These functions are called only within their file, so it does not matter in which registers vectors are passed.
#pragma clang diagnostic ignored "-Wpsabi"
#endif

// Intrinsics, for what the compiler's vector types do not have.
#if defined(__x86_64__) && defined(__clang__)
#include <immintrin.h>
#elif defined(__x86_64__) && defined(__GNUC__)
// GCC 12 warns of the undefined operands that its own intrinsics use on purpose.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif
