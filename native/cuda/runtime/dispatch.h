// From the types and sizes of a call to those of a kernel. Only a CUDA compiler reads this file.
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

// body(std::type_identity<T>()) with T a type of matrices; UNSUPPORTED if no kernel takes it.
template <class Body>
void for_type(sigma_dtype dtype, const Body& body) {
  switch (dtype) {
    case SIGMA_FLOAT32: return body(std::type_identity<float>());
    case SIGMA_FLOAT64: return body(std::type_identity<double>());
    case SIGMA_BFLOAT16: return body(std::type_identity<bfloat16>());
    case SIGMA_INT8: break;
  }
  refuse_types(real_of(dtype), {dtype});
}

// The same with T the one type of these matrices.
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

// A grid's first side; its second one, which is short, for kernels that go through what is left in turn.
inline unsigned grid_side(int64_t blocks) { return static_cast<unsigned>(blocks); }
inline unsigned short_side(int64_t blocks) { return static_cast<unsigned>(std::min<int64_t>(blocks, 65535)); }

// Blocks of 256 threads for `count` threads.
inline dim3 flat_grid(int64_t count) { return dim3(grid_side(divided_up(count, 256))); }

}  // namespace sigma::cuda
