// The adapter recipes. `layer` makes the handle of a layer. A snapshot is three arguments: copies of the diagonal, the
// values and the gate from a forward pass. If one is null, the layer's own is used.
#include "args.h"
#include "bind.h"
#include "layer.h"
#include "recipes/adapter.h"

namespace sigma {
namespace {

constexpr size_t kSnapshot = 3;

// layer(terms): a handle
Napi::Value layer(Args& args) {
  if (!args.value(0).IsObject()) throw ArgumentError("terms: expected an object");
  return make_layer(args.env(), args.environment(), args.value(0).As<Napi::Object>());
}

// The layer behind argument `index`.
AdapterLayer layer_at(Args& args, size_t index) { return layer_of(args.value(index), args.operands()); }

// Reads three arguments.
void use_snapshot_at(Args& args, AdapterLayer& layer, size_t first) {
  use_snapshot(args.operands(), layer, {args.value(first), args.value(first + 1), args.value(first + 2)});
}

// Reads four arguments: ddiagonal | null, dvalues | null, dgate | null, dbias | null
AdapterGradients gradients_at(Args& args, const AdapterLayer& layer, size_t first, FreshGradients& fresh) {
  return gradients_of(args.operands(), layer,
                      {args.value(first), args.value(first + 1), args.value(first + 2), args.value(first + 3)}, &fresh);
}

// P (r, N) as forward saves it, in the type of the activations; null if absent.
void* saved_of(Args& args, sigma_dtype dtype, size_t index, int64_t rank, int64_t tokens) {
  return args.optional_matrix_of(dtype, index, "saved", 1, sigma::adapter_saved_length(rank, tokens));
}

// adapterSavedLength(rank, tokens): number
Napi::Value adapter_saved_length(Args& args) {
  const int64_t rank = args.integer(0, "rank", 1);
  const int64_t tokens = args.integer(1, "tokens", 1);
  product(rank, product(tokens, 2) + 32);  // the padded length stays exact
  return Napi::Number::New(args.env(), static_cast<double>(sigma::adapter_saved_length(rank, tokens)));
}

// adapterForward(layer, x, y, saved | null, tokens)
Napi::Value adapter_forward(Args& args) {
  const AdapterLayer layer = layer_at(args, 0);
  const int64_t tokens = args.integer(4, "tokens", 1);
  const sigma_matrix x = args.matrix(1, "x", tokens, layer.in());
  const sigma_matrix y = args.matrix(2, "y", tokens, layer.out());
  void* const saved = saved_of(args, x.dtype, 3, layer.rank(), tokens);
  sigma::adapter_forward(args.engine(), layer, x, y, saved);
  return args.env().Undefined();
}

// adapterBackward(layer, …snapshot, saved | null, x | null, dy, dx | null, …gradients, tokens)
Napi::Value adapter_backward(Args& args) {
  constexpr size_t kFirst = 1 + kSnapshot;
  AdapterLayer layer = layer_at(args, 0);
  use_snapshot_at(args, layer, 1);
  const int64_t tokens = args.integer(kFirst + 8, "tokens", 1);
  const sigma_matrix dy = args.matrix(kFirst + 2, "dy", tokens, layer.out());
  const AdapterSaved saved{saved_of(args, dy.dtype, kFirst, layer.rank(), tokens),
                           args.optional_matrix_of(dy.dtype, kFirst + 1, "x", tokens, layer.in())};
  void* const dx = args.optional_matrix_of(dy.dtype, kFirst + 3, "dx", tokens, layer.in());
  FreshGradients fresh;
  const AdapterGradients gradients = gradients_at(args, layer, kFirst + 4, fresh);
  if (saved.p == nullptr && saved.x == nullptr && gradients.wants_core()) {
    throw ArgumentError("saved: expected the activation that forward saved, or x, got neither");
  }
  sigma::adapter_backward(args.engine(), layer, saved, dy, dx, gradients);
  fresh.written();
  return args.env().Undefined();
}

// adapterMerge(layer, merged)
Napi::Value adapter_merge(Args& args) {
  const AdapterLayer layer = layer_at(args, 0);
  const sigma_matrix merged = args.matrix(1, "merged", layer.u.rows, layer.vt.columns);
  if (layer.has_base() && layer.base.dtype != merged.dtype)
    throw ArgumentError("merged: expected the type of the base");
  sigma::adapter_merge(args.engine(), layer, merged);
  return args.env().Undefined();
}

// adapterProject(layer, …snapshot, g, …gradients), without a gradient of the bias
Napi::Value adapter_project(Args& args) {
  AdapterLayer layer = layer_at(args, 0);
  use_snapshot_at(args, layer, 1);
  const sigma_matrix g =
      args.operands().matrix(args.value(1 + kSnapshot), "g", layer.u.rows, layer.vt.columns, dtype_of(args.real()));
  constexpr size_t kFirst = 2 + kSnapshot;
  FreshGradients fresh;
  const GradientTargets targets{args.value(kFirst), args.value(kFirst + 1), args.value(kFirst + 2), args.env().Null()};
  sigma::adapter_project(args.engine(), layer, g, gradients_of(args.operands(), layer, targets, &fresh));
  fresh.written();
  return args.env().Undefined();
}

// A weight (out, in), which is stored as (in, out) if `transposed`.
sigma_matrix weight_of(Args& args, int64_t in, int64_t out, bool transposed) {
  return transposed ? args.matrix(0, "weight", in, out) : args.matrix(0, "weight", out, in);
}

// weightForward(weight, bias | null, x, y, tokens, in, out, transposed): y (N, out) = x weightᵀ + bias
Napi::Value weight_forward(Args& args) {
  const int64_t tokens = args.integer(4, "tokens", 1);
  const int64_t in = args.integer(5, "in", 1);
  const int64_t out = args.integer(6, "out", 1);
  const bool transposed = args.flag(7);
  const sigma_matrix weight = weight_of(args, in, out, transposed);
  const void* const bias = args.optional_vector(1, "bias", out);
  const sigma_matrix x = args.matrix(2, "x", tokens, in);
  const sigma_matrix y = args.matrix(3, "y", tokens, out);
  args.engine().run(&sigma_backend::gemm, sigma_gemm{args.real(), false, !transposed, false, x, weight, y, bias});
  return args.env().Undefined();
}

// weightBackward(weight, x | null, dy, dx | null, dbias | null, g | null, accumulate, tokens, in, out, transposed)
Napi::Value weight_backward(Args& args) {
  const int64_t tokens = args.integer(7, "tokens", 1);
  const int64_t in = args.integer(8, "in", 1);
  const int64_t out = args.integer(9, "out", 1);
  const bool transposed = args.flag(10);
  const sigma_matrix weight = weight_of(args, in, out, transposed);
  const sigma_matrix dy = args.matrix(2, "dy", tokens, out);
  const WeightPullBack call{.weight = weight,
                            .transposed = transposed,
                            .dy = dy,
                            .x = args.optional_matrix_of(dy.dtype, 1, "x", tokens, in),
                            .dx = args.optional_matrix_of(dy.dtype, 3, "dx", tokens, in),
                            .dbias = args.optional_vector(4, "dbias", out),
                            .g = args.optional_matrix_of(dtype_of(args.real()), 5, "g", weight.rows, weight.columns),
                            .accumulate = args.flag(6)};
  if (call.x == nullptr && call.g != nullptr)
    throw ArgumentError("x: expected the input of forward because g is given, got null");
  sigma::weight_backward(args.engine(), call);
  return args.env().Undefined();
}

}  // namespace

void bind_adapter(Napi::Object exports) {
  export_function<layer>(exports, "layer");
  export_function<adapter_saved_length>(exports, "adapterSavedLength");
  export_function<adapter_forward>(exports, "adapterForward");
  export_function<adapter_backward>(exports, "adapterBackward");
  export_function<adapter_merge>(exports, "adapterMerge");
  export_function<adapter_project>(exports, "adapterProject");
  export_function<weight_forward>(exports, "weightForward");
  export_function<weight_backward>(exports, "weightBackward");
}

}  // namespace sigma
