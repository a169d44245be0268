// Maps the types of a call to C++ types.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "contract/engine.h"
#include "contract/failure.h"
#include "cpu/runtime/simd.h"

namespace sigma::cpu {

// Whether there are kernels for these matrices: all have one type, which goes with the vectors'.
inline bool computes(sigma_real real, const sigma_dtype* dtypes, size_t count) {
  return std::all_of(dtypes, dtypes + count, [&](sigma_dtype dtype) {
    return dtype == dtypes[0] && (dtype == dtype_of(real) || (is_half(dtype) && real == SIGMA_REAL32));
  });
}

// Whether there is a product of these matrices, a, b and c: a and b have the type of c, or are int8; or they have one
// type of 16 bits, and c is float32.
inline bool multiplies(sigma_real real, const sigma_dtype* dtypes, size_t count) {
  if (count == 3 && is_half(dtypes[0]) && dtypes[2] == SIGMA_FLOAT32) return computes(real, dtypes, 2);
  const auto fits = [&](sigma_dtype dtype) { return dtype == dtypes[count - 1] || dtype == SIGMA_INT8; };
  return count > 0 && computes(real, dtypes + count - 1, 1) && std::all_of(dtypes, dtypes + count, fits) &&
         (real == SIGMA_REAL32 || computes(real, dtypes, count));
}

// Calls body.template operator()<T>(), where T is the type of the vectors.
template <class Body>
void for_real(sigma_real real, Body&& body) {
  if (real == SIGMA_REAL64) {
    body.template operator()<double>();
  } else {
    body.template operator()<float>();
  }
}

// Calls body.template operator()<S>(), where S is the type of these matrices; throws UNSUPPORTED if there is no kernel
// for them.
template <class Body>
void for_types(sigma_real real, std::initializer_list<sigma_dtype> dtypes, Body&& body) {
  if (!computes(real, dtypes.begin(), dtypes.size())) refuse_types(real, dtypes);
  if (*dtypes.begin() == SIGMA_BFLOAT16) {
    body.template operator()<bfloat16>();
  } else if (*dtypes.begin() == SIGMA_FLOAT16) {
    body.template operator()<float16>();
  } else {
    for_real(real, body);
  }
}

}  // namespace sigma::cpu
