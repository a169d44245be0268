// One batch through many adapters. Each row goes through one of them, and the rows of one adapter follow each other
// once the batch is sorted. Adapters on the same factors share the products with V and U; adapters on the same base
// share the product with the base. Only the products with the cores are separate. All adapters have the same features.
#pragma once

#include <vector>

#include "recipes/adapter.h"

namespace sigma {

// The rows `first` … `first + count - 1` of the sorted batch, and the adapter that they go through.
struct EachSlice {
  AdapterLayer layer;
  int64_t first;
  int64_t count;  // at least 1
  AdapterGradients gradients = {};
};

// The slices of a batch cover its rows in order. Those with the same base, u and vt should follow each other.
struct EachBatch {
  std::vector<EachSlice> slices;
  int64_t tokens;
  // (N, N) The permutation that sorts the rows: row t of the sorted batch is row column_indices[t] of the given one.
  // Null if the rows are sorted.
  const sigma_pattern* order;
  const void* ones;  // (N), the values of `order`
};

// Elements that forward saves for backward: P of each run of slices with the same factors.
int64_t each_saved_length(const EachBatch& batch);

// Y (N, out) from X (N, in). Saves the P in `saved`, which may be null.
void each_forward(const Engine& engine, const EachBatch& batch, const sigma_matrix& x, const sigma_matrix& y,
                  void* saved);

// The pull-back of dY (N, out). Overwrites dX (N, in), which may be null, and adds to the gradients of the slices; adds
// nothing if it runs out of memory. `saved` may be null if no gradient of a core is wanted.
void each_backward(const Engine& engine, const EachBatch& batch, const void* saved, const sigma_matrix& dy,
                   const sigma_matrix* dx);

}  // namespace sigma
