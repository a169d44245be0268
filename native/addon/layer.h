// The native side of an adapter layer. It remembers the JavaScript operands and reads their memory again at each call,
// because the memory belongs to JavaScript.
#pragma once

#include <napi.h>

#include "args.h"
#include "recipes/adapter.h"

namespace sigma {

// The handle of a layer from { in, out, rank, base, u, vt, diagonal, offset, origin, transposed, rectified,
// pattern, values, gate, bias }; absent terms are null. `values` without a pattern are a dense core (rank, rank). The
// handle does not keep the operands alive.
Napi::Object make_layer(Napi::Env env, const Environment& environment, Napi::Object terms);

// The layer behind argument `index`, with the current memory of its operands.
AdapterLayer layer_of(Args& args, size_t index);

// Replaces the layer's diagonal, values and gate by the snapshot in the three arguments from `first` on; skips null.
void use_snapshot(Args& args, AdapterLayer& layer, size_t first);

}  // namespace sigma
