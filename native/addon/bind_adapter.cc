// The adapter recipes. Every function takes the layer as its first arguments, in this order:
//   0 in, 1 out, 2 rank, 3 base | null, 4 u, 5 vt, 6 diagonal | null, 7 origin | null, 8 rectified, 9 pattern | null,
//   10 values | null, 11 gate | null, 12 bias | null
#include "args.h"
#include "bind.h"
#include "recipes/adapter.h"

namespace sigma {
namespace {

constexpr size_t kLayerArguments = 13;

AdapterLayer layer_of(Args& args) {
  AdapterLayer layer{};
  layer.in = args.integer(0, "in", 1);
  layer.out = args.integer(1, "out", 1);
  layer.rank = args.integer(2, "rank", 1);
  layer.base = args.optional_matrix(3, "base", product(layer.out, layer.in));
  layer.u = args.matrix(4, "u", product(layer.out, layer.rank));
  layer.vt = args.matrix(5, "vt", product(layer.rank, layer.in));
  sigma_core& core = layer.core;
  core.size = layer.rank;
  core.diagonal = args.optional_vector(6, "diagonal", layer.rank);
  core.origin = args.optional_vector(7, "origin", layer.rank);
  core.rectified = args.flag(8) ? 1 : 0;
  if (!args.is_absent(9)) {
    core.pattern = &args.placed_pattern(9, "pattern");
    if (core.pattern->size != layer.rank) throw ArgumentError("pattern: expected the size of the core");
    core.values = args.vector(10, "values", core.pattern->entries);
    core.gate = args.optional_vector(11, "gate", 1);
  }
  layer.bias = args.optional_vector(12, "bias", layer.out);
  return layer;
}

// Four arrays to add to: ddiagonal | null, dvalues | null, dgate | null, dbias | null
AdapterGradients gradients_of(Args& args, const AdapterLayer& layer, size_t first) {
  AdapterGradients gradients;
  gradients.diagonal = args.optional_vector(first, "ddiagonal", layer.rank);
  if (layer.core.pattern != nullptr) {
    gradients.values = args.optional_vector(first + 1, "dvalues", layer.core.pattern->entries);
    gradients.gate = args.optional_vector(first + 2, "dgate", 1);
  }
  gradients.bias = args.optional_vector(first + 3, "dbias", layer.out);
  return gradients;
}

// adapterSavedLength(rank, tokens): number
Napi::Value adapter_saved_length(Args& args) {
  const int64_t rank = args.integer(0, "rank", 1);
  const int64_t tokens = args.integer(1, "tokens", 1);
  product(rank, product(tokens, 2) + 32);  // the padded length stays exact
  return Napi::Number::New(args.env(), static_cast<double>(sigma::adapter_saved_length(rank, tokens)));
}

// adapterForward(…layer, x, y, saved | null, tokens)
Napi::Value adapter_forward(Args& args) {
  const AdapterLayer layer = layer_of(args);
  const int64_t tokens = args.integer(kLayerArguments + 3, "tokens", 1);
  const void* const x = args.matrix(kLayerArguments, "x", product(tokens, layer.in));
  void* const y = args.matrix(kLayerArguments + 1, "y", product(tokens, layer.out));
  void* const saved =
      args.optional_matrix(kLayerArguments + 2, "saved", sigma::adapter_saved_length(layer.rank, tokens));
  sigma::adapter_forward(args.engine(), layer, tokens, x, y, saved);
  return args.env().Undefined();
}

// adapterBackward(…layer, saved | null, x | null, dy, dx | null, …gradients, tokens)
Napi::Value adapter_backward(Args& args) {
  const AdapterLayer layer = layer_of(args);
  const int64_t tokens = args.integer(kLayerArguments + 8, "tokens", 1);
  const AdapterSaved saved{
      args.optional_matrix(kLayerArguments, "saved", sigma::adapter_saved_length(layer.rank, tokens)),
      args.optional_matrix(kLayerArguments + 1, "x", product(tokens, layer.in))};
  const void* const dy = args.matrix(kLayerArguments + 2, "dy", product(tokens, layer.out));
  void* const dx = args.optional_matrix(kLayerArguments + 3, "dx", product(tokens, layer.in));
  const AdapterGradients gradients = gradients_of(args, layer, kLayerArguments + 4);
  if (saved.p == nullptr && saved.x == nullptr && gradients.wants_core()) {
    throw ArgumentError("saved: expected the forward's activation, or its input");
  }
  sigma::adapter_backward(args.engine(), layer, tokens, saved, dy, dx, gradients);
  return args.env().Undefined();
}

// adapterMerge(…layer, merged)
Napi::Value adapter_merge(Args& args) {
  const AdapterLayer layer = layer_of(args);
  void* const merged = args.matrix(kLayerArguments, "merged", product(layer.out, layer.in));
  sigma::adapter_merge(args.engine(), layer, merged);
  return args.env().Undefined();
}

// adapterProject(…layer, g, …gradients)
Napi::Value adapter_project(Args& args) {
  const AdapterLayer layer = layer_of(args);
  const void* const g = args.matrix(kLayerArguments, "g", product(layer.out, layer.in));
  sigma::adapter_project(args.engine(), layer, g, gradients_of(args, layer, kLayerArguments + 1));
  return args.env().Undefined();
}

// weightForward(weight, bias | null, x, y, tokens, in, out): y (N, out) = x weightᵀ + bias
Napi::Value weight_forward(Args& args) {
  const int64_t tokens = args.integer(4, "tokens", 1);
  const int64_t in = args.integer(5, "in", 1);
  const int64_t out = args.integer(6, "out", 1);
  const sigma_matrix weight{args.matrix(0, "weight", product(out, in)), out, in, in};
  const void* const bias = args.optional_vector(1, "bias", out);
  const sigma_matrix x{args.matrix(2, "x", product(tokens, in)), tokens, in, in};
  const sigma_matrix y{args.matrix(3, "y", product(tokens, out)), tokens, out, out};
  const Engine e = args.engine();
  e.call(e.backend->gemm, false, true, &x, &weight, false, bias, &y);
  return args.env().Undefined();
}

// weightBackward(weight, x | null, dy, dx | null, dbias | null, g | null, accumulate, tokens, in, out)
Napi::Value weight_backward(Args& args) {
  const int64_t tokens = args.integer(7, "tokens", 1);
  const int64_t in = args.integer(8, "in", 1);
  const int64_t out = args.integer(9, "out", 1);
  const WeightPullBack call{.weight = args.matrix(0, "weight", product(out, in)),
                            .x = args.optional_matrix(1, "x", product(tokens, in)),
                            .dy = args.matrix(2, "dy", product(tokens, out)),
                            .dx = args.optional_matrix(3, "dx", product(tokens, in)),
                            .dbias = args.optional_vector(4, "dbias", out),
                            .g = args.optional_matrix(5, "g", product(out, in)),
                            .accumulate = args.flag(6)};
  if (call.x == nullptr && call.g != nullptr) throw ArgumentError("x: expected the forward's input");
  sigma::weight_backward(args.engine(), out, in, tokens, call);
  return args.env().Undefined();
}

}  // namespace

void bind_adapter(Napi::Object exports) {
  export_function<adapter_saved_length>(exports, "adapterSavedLength");
  export_function<adapter_forward>(exports, "adapterForward");
  export_function<adapter_backward>(exports, "adapterBackward");
  export_function<adapter_merge>(exports, "adapterMerge");
  export_function<adapter_project>(exports, "adapterProject");
  export_function<weight_forward>(exports, "weightForward");
  export_function<weight_backward>(exports, "weightBackward");
}

}  // namespace sigma
