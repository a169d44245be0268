// The terms of one adapter's operator on the native side: named once, and read again at each call, since their memory
// is JavaScript's.
#pragma once

#include <napi.h>

#include "args.h"
#include "recipes/adapter.h"

namespace sigma {

// The handle of a layer from { in, out, rank, base, u, vt, diagonal, offset, origin, rectified, pattern, values,
// gate, bias }, where absent terms are null. `values` without a pattern are a dense core (rank, rank). The handle does
// not keep the operands alive.
Napi::Object make_layer(Napi::Env env, const Environment& environment, Napi::Object terms);

// The layer behind argument `index`, with its operands' memory of now.
AdapterLayer layer_of(Args& args, size_t index);

// Replaces what training may change, the diagonal, the values and the gate, by the arguments from `first` on that are
// not null: copies of what these were at the forward pass.
void use_snapshot(Args& args, AdapterLayer& layer, size_t first);

}  // namespace sigma
