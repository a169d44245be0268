// The recipe of one batch through many adapters. Its first four arguments are a batch: `layers`, handles in the order
// of the sorted rows; `starts`, an Int32Array with the first row of each layer, and the number of rows; `order`, the
// pattern of the permutation that sorts the rows, or null if they are sorted; and `ones`, the values of that pattern.
#include <string>
#include <utility>

#include "args.h"
#include "bind.h"
#include "layer.h"
#include "recipes/each.h"

namespace sigma {
namespace {

constexpr size_t kBatch = 4;
constexpr uint32_t kSnapshot = 3, kGradients = 4;

Napi::Array list_at(Args& args, size_t index, const char* name) {
  if (!args.value(index).IsArray()) throw ArgumentError(std::string(name) + ": expected an array");
  return args.value(index).As<Napi::Array>();
}

// A list with `width` values for each slice.
Napi::Array list_at(Args& args, size_t index, const char* name, const EachBatch& batch, uint32_t width) {
  const Napi::Array list = list_at(args, index, name);
  const size_t wanted = width * batch.slices.size();
  if (list.Length() != wanted)
    throw ArgumentError(std::string(name) + ": expected " + std::to_string(wanted) + " values");
  return list;
}

// Whether all rows of a permutation have one entry, and so have its columns.
bool is_permutation(Args& args, size_t index) {
  const sigma_pattern& pattern = args.pattern(index, "order");
  for (int64_t i = 0; i < pattern.size; ++i) {
    if (pattern.row_pointers[i + 1] != i + 1 || pattern.transposed_row_pointers[i + 1] != i + 1) return false;
  }
  return pattern.entries == pattern.size;
}

void check_alike(const AdapterLayer& layer, const AdapterLayer& first, size_t index) {
  const bool alike = layer.in() == first.in() && layer.out() == first.out() && layer.real == first.real;
  if (!alike) throw ArgumentError("layers[" + std::to_string(index) + "]: expected the features and type of the first");
}

EachBatch batch_of(Args& args) {
  const Napi::Array layers = list_at(args, 0, "layers");
  const Int32View starts = int32_view(args.value(1), "starts");
  const size_t count = layers.Length();
  if (count == 0) throw ArgumentError("layers: expected at least one");
  if (starts.length != static_cast<int64_t>(count) + 1 || starts.data[0] != 0)
    throw ArgumentError("starts: expected the first row of each layer, from 0 on, and the number of rows");
  EachBatch batch = {};
  batch.slices.reserve(count);
  int64_t first = 0;
  for (uint32_t i = 0; i < count; ++i) {
    const int64_t next = starts.data[i + 1];
    if (next <= first) throw ArgumentError("starts: expected ascending numbers");
    batch.slices.push_back({layer_of(layers.Get(i), args.operands()), first, next - first});
    check_alike(batch.slices.back().layer, batch.slices.front().layer, i);
    first = next;
  }
  batch.tokens = first;
  if (!args.is_absent(2)) {
    batch.order = &args.placed_pattern(2, "order");
    if (batch.order->size != batch.tokens || !is_permutation(args, 2))
      throw ArgumentError("order: expected a permutation of the rows");
    batch.ones = args.vector(3, "ones", batch.tokens);
  }
  return batch;
}

int64_t in_of(const EachBatch& batch) { return batch.slices.front().layer.in(); }
int64_t out_of(const EachBatch& batch) { return batch.slices.front().layer.out(); }

// The products refuse rows of a type that does not go with the layers' matrices.
sigma_matrix rows_at(Args& args, size_t index, const char* name, const EachBatch& batch, int64_t columns) {
  return args.matrix(index, name, batch.tokens, columns);
}

void* saved_at(Args& args, sigma_dtype dtype, size_t index, const EachBatch& batch) {
  return args.optional_matrix_of(dtype, index, "saved", 1, sigma::each_saved_length(batch));
}

// eachForward(…batch, x, y, saved | null)
Napi::Value each_forward(Args& args) {
  const EachBatch batch = batch_of(args);
  const sigma_matrix x = rows_at(args, kBatch, "x", batch, in_of(batch));
  const sigma_matrix y = args.operands().matrix(args.value(kBatch + 1), "y", batch.tokens, out_of(batch), x.dtype);
  sigma::each_forward(args.engine(), batch, x, y, saved_at(args, x.dtype, kBatch + 2, batch));
  return args.env().Undefined();
}

// eachBackward(…batch, snapshots, saved | null, dy, dx | null, gradients); `snapshots` has three values for each layer,
// and `gradients` has four.
Napi::Value each_backward(Args& args) {
  EachBatch batch = batch_of(args);
  const Napi::Array snapshots = list_at(args, kBatch, "snapshots", batch, kSnapshot);
  const Napi::Array gradients = list_at(args, kBatch + 4, "gradients", batch, kGradients);
  bool trains = false;
  for (uint32_t i = 0; i < batch.slices.size(); ++i) {
    EachSlice& slice = batch.slices[i];
    const uint32_t s = i * kSnapshot, g = i * kGradients;
    use_snapshot(args.operands(), slice.layer, {snapshots.Get(s), snapshots.Get(s + 1), snapshots.Get(s + 2)});
    slice.gradients =
        gradients_of(args.operands(), slice.layer,
                     {gradients.Get(g), gradients.Get(g + 1), gradients.Get(g + 2), gradients.Get(g + 3)});
    trains = trains || slice.gradients.wants_core();
  }
  const sigma_matrix dy = rows_at(args, kBatch + 2, "dy", batch, out_of(batch));
  const void* const saved = saved_at(args, dy.dtype, kBatch + 1, batch);
  if (saved == nullptr && trains) throw ArgumentError("saved: expected the activations that forward saved, got null");
  sigma_matrix dx = {};
  const bool wanted = !args.is_absent(kBatch + 3);
  if (wanted) dx = args.operands().matrix(args.value(kBatch + 3), "dx", batch.tokens, in_of(batch), dy.dtype);
  sigma::each_backward(args.engine(), batch, saved, dy, wanted ? &dx : nullptr);
  return args.env().Undefined();
}

}  // namespace

void bind_each(Napi::Object exports) {
  export_function<each_forward>(exports, "eachForward");
  export_function<each_backward>(exports, "eachBackward");
}

}  // namespace sigma
