// Functions that are compiled for more instruction sets than the rest of the file.
#pragma once

// SIGMA_TARGET: the functions from there to SIGMA_END_TARGET are compiled for these instruction sets too.
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

#if defined(__clang__)
// These functions are called only within their file, so it does not matter in which registers vectors are passed.
#pragma clang diagnostic ignored "-Wpsabi"
#endif
