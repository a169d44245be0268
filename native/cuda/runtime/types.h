// The types of a call, for host code.
#pragma once

#include <algorithm>
#include <cstddef>
#include <type_traits>

#include "contract/engine.h"
#include "contract/failure.h"

namespace sigma::cuda {

// Whether there are kernels for these matrices: all must have one type, which goes with the vectors' type.
inline bool computes(sigma_real real, const sigma_dtype* dtypes, size_t count) {
  return std::all_of(dtypes, dtypes + count, [&](sigma_dtype dtype) {
    return dtype == dtypes[0] && dtype != SIGMA_INT8 && dtype != SIGMA_FLOAT16 && real_of(dtype) == real;
  });
}

// Whether there is a product of these matrices, a, b and c: all have one type, or a and b are bfloat16 and c is
// float32.
inline bool multiplies(sigma_real real, const sigma_dtype* dtypes, size_t count) {
  if (count == 3 && dtypes[0] == SIGMA_BFLOAT16 && dtypes[2] == SIGMA_FLOAT32) return computes(real, dtypes, 2);
  return computes(real, dtypes, count);
}

// Calls body(std::type_identity<T>()), where T is the type of the vectors.
template <class Body>
void for_real(sigma_real real, const Body& body) {
  return real == SIGMA_REAL64 ? body(std::type_identity<double>()) : body(std::type_identity<float>());
}

}  // namespace sigma::cuda
