// The native side of an adapter layer. It remembers the JavaScript operands and reads their memory again at each call,
// because the memory belongs to JavaScript.
#pragma once

#include <napi.h>

#include <vector>

#include "args.h"
#include "memory.h"
#include "recipes/adapter.h"

namespace sigma {

// The handle of a layer from { in, out, rank, base, u, vt, diagonal, offset, origin, transposed, rectified,
// pattern, values, gate, bias }; absent terms are null. `values` without a pattern are a dense core (rank, rank). The
// handle does not keep the operands alive.
Napi::Object make_layer(Napi::Env env, const Environment& environment, Napi::Object terms);

// The layer behind a handle, with the current memory of its operands.
AdapterLayer layer_of(Napi::Value handle, Operands& operands);

// Replaces the layer's diagonal, values and gate by a snapshot; skips null.
struct Snapshot {
  Napi::Value diagonal, values, gate;
};
void use_snapshot(Operands& operands, AdapterLayer& layer, const Snapshot& snapshot);

// Where a pull-back adds gradients. A value is null if there is none.
struct GradientTargets {
  Napi::Value diagonal, values, gate, bias;
};
// Gradients that count as zeros, and that one call overwrites instead of adding to them.
class FreshGradients {
 public:
  FreshGradients() = default;
  // After a failure they are zeros again.
  ~FreshGradients() {
    for (DeviceBlock* const block : blocks_) block->zero_later();
  }
  FreshGradients(const FreshGradients&) = delete;
  FreshGradients& operator=(const FreshGradients&) = delete;
  int32_t take(Napi::Value value);
  void written() { blocks_.clear(); }

 private:
  std::vector<DeviceBlock*> blocks_;
};

// `fresh` is for a call that overwrites fresh gradients; without it they are zeroed.
AdapterGradients gradients_of(Operands& operands, const AdapterLayer& layer, const GradientTargets& targets,
                              FreshGradients* fresh = nullptr);

}  // namespace sigma
