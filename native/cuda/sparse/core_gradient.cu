// Gradients of M's values and of the gate, from the samples of the core's gradient.
#include "cuda/ops.h"
#include "cuda/runtime/dispatch.h"
#include "cuda/sparse/kernels/gradient.cuh"

namespace sigma::cuda {
namespace {

constexpr const char* kGradient = "core_gradient";

template <class V>
void pull_back(sigma_context& context, const sigma_core_gradient& call) {
  const sigma_core& core = *call.core;
  auto* const dvalues = static_cast<V*>(call.dvalues);
  auto* const dgate = static_cast<V*>(call.dgate);
  constexpr int64_t kMostBlocks = 512;
  constexpr int64_t kThreads = kWarpSize * kWarps;
  const int64_t entries = core.pattern->entries;
  const auto* const gate = static_cast<const V*>(core.gate);
  const auto blocks = static_cast<unsigned>(std::clamp<int64_t>(divided_up(entries, 4 * kThreads), 1, kMostBlocks));
  auto* const partials = dgate != nullptr ? static_cast<V*>(context.scratch(blocks * sizeof(V))) : nullptr;
  const dim3 block(kWarpSize, kWarps);
  launch(context, kGradient, core_gradient_kernel<V>, dim3(blocks), block, kWarps * sizeof(V), entries, gate,
         static_cast<const V*>(core.values), static_cast<const V*>(call.samples), dvalues, call.fresh_values == 0,
         partials);
  if (dgate == nullptr) return;
  launch(context, kGradient, gate_gradient_kernel<V>, dim3(1), block, kWarps * sizeof(V), static_cast<int>(blocks),
         gate, partials, dgate, call.fresh_gate == 0);
}

}  // namespace

void core_gradient(sigma_context& context, const sigma_core_gradient& call) {
  if (call.dvalues == nullptr && call.dgate == nullptr) return;
  for_real(call.real, [&]<class V>(std::type_identity<V>) { pull_back<V>(context, call); });
}

}  // namespace sigma::cuda
