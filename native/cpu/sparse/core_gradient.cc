// Gradients of M's values and of the gate, from the samples of the core's gradient.
#include <algorithm>

#include "cpu/ops.h"
#include "cpu/runtime/dispatch.h"
#include "cpu/runtime/simd.h"
#include "cpu/sparse/gate.h"

namespace sigma::cpu {
namespace {

// dvalues[p] += g samples[p]; dgate += g (1 - g) Σ_p values[p] samples[p]
template <class T>
void pull_back(const sigma_core& core, const T* samples, T* dvalues, T* dgate) {
  const T g = gate_factor<T>(core);
  const int64_t entries = core.pattern->entries;
  if (dvalues != nullptr) {
    for (int64_t p = 0; p < entries; ++p) dvalues[p] += g * samples[p];
  }
  if (dgate != nullptr) {
    // 1 - g as sigmoid(-gate), without cancellation.
    const T rest = core.gate == nullptr ? T{0} : sigmoid(-*static_cast<const T*>(core.gate));
    *dgate += g * rest * row_kernels<T>().dot(entries, static_cast<const T*>(core.values), samples);
  }
}

}  // namespace

void core_gradient(const sigma_core_gradient& call) {
  for_real(call.real, [&]<class T>() {
    T* const dvalues = static_cast<T*>(call.dvalues);
    T* const dgate = static_cast<T*>(call.dgate);
    if (dvalues != nullptr && call.fresh_values != 0) std::fill_n(dvalues, call.core->pattern->entries, T{0});
    if (dgate != nullptr && call.fresh_gate != 0) *dgate = 0;
    pull_back<T>(*call.core, static_cast<const T*>(call.samples), dvalues, dgate);
  });
}

}  // namespace sigma::cpu
