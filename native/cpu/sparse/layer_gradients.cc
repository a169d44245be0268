#include "cpu/ops.h"

namespace sigma::cpu {

void layer_gradients(const sigma_layer_gradients& call) {
  if (call.samples.samples != nullptr) {
    sddmm(call.samples);
    core_gradient(call.core);
  }
  if (call.diagonal.sums != nullptr) row_dots(call.diagonal);
  if (call.bias.sums != nullptr) column_sums(call.bias);
}

}  // namespace sigma::cpu
