// Maps the types of a call to C++ types.
#pragma once

#include <algorithm>
#include <initializer_list>

#include "contract/engine.h"
#include "contract/failure.h"

namespace sigma::cpu {

// Whether there are kernels for these matrices: all must have the vectors' type.
inline bool computes(sigma_real real, const sigma_dtype* dtypes, size_t count) {
  return std::all_of(dtypes, dtypes + count, [&](sigma_dtype dtype) { return dtype == dtype_of(real); });
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

// The same; throws UNSUPPORTED if there is no kernel for matrices of these types.
template <class Body>
void for_types(sigma_real real, std::initializer_list<sigma_dtype> dtypes, Body&& body) {
  if (!computes(real, dtypes.begin(), dtypes.size())) refuse_types(real, dtypes);
  for_real(real, body);
}

}  // namespace sigma::cpu
