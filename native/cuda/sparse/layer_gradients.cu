// The gradients of a layer's vectors. One launch makes all of them, if M is diagonal or absent.
#include "cuda/ops.h"
#include "cuda/sparse/sums.h"

namespace sigma::cuda {
namespace {

constexpr const char* kGradients = "layer_gradients";

bool is_diagonal(const sigma_pattern& pattern) {
  const bool full = pattern.entries > 0 && pattern.entries == pattern.size;
  return full && pattern.banded != 0 && pattern.lower == 0 && pattern.upper == 0;
}

template <class T>
void add_gradients(sigma_context& context, const sigma_layer_gradients& call, bool in_rows) {
  using V = Number<T>;
  Sums<T> p = {};
  const bool diagonal = call.diagonal.sums != nullptr;
  if (diagonal) p.rows = row_dots_of<T>(call.diagonal.a, call.diagonal.b);
  if (in_rows && !diagonal) p.rows = row_dots_of<T>(call.samples.a, call.samples.b);
  if (diagonal) add_diagonal(p.rows, call.diagonal);
  if (in_rows) {
    p.rows.gate = static_cast<const V*>(call.core.core->gate);
    p.rows.values_gradient = static_cast<V*>(call.core.dvalues);
    p.rows.adds_values = call.core.fresh_values == 0;
    p.rows.gate_sum = gate_sum_of<V>(call.core);
  }
  if (call.bias.sums != nullptr) p.columns = column_sums_of<T>(call.bias);
  launch_sums(context, kGradients, p);
}

}  // namespace

void layer_gradients(sigma_context& context, const sigma_layer_gradients& call) {
  const auto& [samples, core, diagonal, bias] = call;
  const bool sampled = samples.samples != nullptr;
  const bool in_rows = sampled && is_diagonal(*samples.pattern);
  if (sampled && !in_rows) {
    sddmm(context, samples);
    core_gradient(context, core);
  }
  const auto add = [&]<class T>(std::type_identity<T>) { add_gradients<T>(context, call, in_rows); };
  // The matrices of all parts have one type.
  if (in_rows) {
    for_types(samples.real, {samples.a.dtype, samples.b.dtype}, add);
  } else if (diagonal.sums != nullptr) {
    for_types(diagonal.real, {diagonal.a.dtype, diagonal.b.dtype}, add);
  } else if (bias.sums != nullptr) {
    for_types(bias.real, {bias.a.dtype}, add);
  }
}

}  // namespace sigma::cuda
