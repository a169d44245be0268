// Gradients of M's values and of the gate, from the samples of the core's gradient.
#include "cuda/ops.h"
#include "cuda/sparse/sums.h"

namespace sigma::cuda {
namespace {

template <class V>
void pull_back(sigma_context& context, const sigma_core_gradient& call) {
  constexpr int64_t kMostBlocks = 512;
  constexpr int64_t kThreads = kWarpSize * kWarps;
  CoreGradient<V> p = {};
  p.entries = call.core->pattern->entries;
  p.gate = static_cast<const V*>(call.core->gate);
  p.samples = static_cast<const V*>(call.samples);
  p.values_gradient = static_cast<V*>(call.dvalues);
  p.adds_values = call.fresh_values == 0;
  p.gate_sum = gate_sum_of<V>(call);
  const int64_t blocks = std::clamp<int64_t>(divided_up(p.entries, 4 * kThreads), 1, kMostBlocks);
  if (call.dgate != nullptr) {
    p.gate_sum.parts = static_cast<V*>(context.scratch(static_cast<size_t>(blocks) * sizeof(V)));
    p.gate_sum.ticket = context.tickets(1);
  }
  launch(context, "core_gradient", core_gradient_kernel<V>, dim3(grid_side(blocks)), dim3(kWarpSize, kWarps),
         kTicketBytes + kWarps * sizeof(V), p);
}

}  // namespace

void core_gradient(sigma_context& context, const sigma_core_gradient& call) {
  if (call.dvalues == nullptr && call.dgate == nullptr) return;
  for_real(call.real, [&]<class V>(std::type_identity<V>) { pull_back<V>(context, call); });
}

}  // namespace sigma::cuda
