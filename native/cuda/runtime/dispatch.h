// Maps the types and sizes of a call to those of a kernel. Only for CUDA sources.
#pragma once

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "contract/failure.h"
#include "cuda/runtime/kernels/device.cuh"
#include "cuda/runtime/launch.h"
#include "cuda/runtime/plan.h"
#include "cuda/runtime/types.h"

namespace sigma::cuda {

// Calls body(std::type_identity<T>()), where T is the C++ type of `dtype`; throws UNSUPPORTED if there is no kernel.
template <class Body>
void for_type(sigma_dtype dtype, const Body& body) {
  switch (dtype) {
    case SIGMA_FLOAT32: return body(std::type_identity<float>());
    case SIGMA_FLOAT64: return body(std::type_identity<double>());
    case SIGMA_BFLOAT16: return body(std::type_identity<bfloat16>());
    case SIGMA_INT8:
    case SIGMA_FLOAT16: break;
  }
  refuse_types(real_of(dtype), {dtype});
}

// The same, where T is the common type of these matrices.
template <class Body>
void for_types(sigma_real real, std::initializer_list<sigma_dtype> dtypes, const Body& body) {
  if (!computes(real, dtypes.begin(), dtypes.size())) refuse_types(real, dtypes);
  for_type(*dtypes.begin(), body);
}

inline bool starts_aligned(const void* memory) { return reinterpret_cast<uintptr_t>(memory) % kVectorBytes == 0; }

// Whether every row of each matrix starts on a multiple of 16 bytes.
template <class T>
bool rows_aligned(std::initializer_list<sigma_matrix> matrices) {
  for (const sigma_matrix& m : matrices) {
    if (!starts_aligned(m.data) || m.stride * static_cast<int64_t>(sizeof(T)) % kVectorBytes != 0) return false;
  }
  return true;
}

// Sizes of a grid's x and y dimensions. y is limited to 65535: its kernels loop over the rest.
inline unsigned grid_side(int64_t blocks) { return static_cast<unsigned>(blocks); }
inline unsigned short_side(int64_t blocks) { return static_cast<unsigned>(std::min<int64_t>(blocks, 65535)); }

// Blocks of 256 threads for `count` threads.
inline dim3 flat_grid(int64_t count) { return dim3(grid_side(divided_up(count, 256))); }

}  // namespace sigma::cuda
