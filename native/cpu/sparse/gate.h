// g = sigmoid(γ), the factor of M.
#pragma once

#include <cmath>

#include "contract/backend.h"

namespace sigma::cpu {

template <class T>
T sigmoid(T x) {
  return T{1} / (T{1} + std::exp(-x));
}

template <class T>
T gate_factor(const sigma_core& core) {
  return core.gate == nullptr ? T{1} : sigmoid(*static_cast<const T*>(core.gate));
}

}  // namespace sigma::cpu
