// The adapter operator of all families, on any backend:
//
//   C = diag(d) + g·M,  d = [max(0, ] diagonal [+ offset] [)] [- origin],  g = sigmoid(γ)
//   Y = [X W0ᵀ] + (X V) Cᵀ Uᵀ + b
//
// and its pull-back. C may also be a dense matrix, whose products are GEMMs. A family is a choice of terms. X and Y are
// (N, features). Intermediates are (r, N), tokens contiguous, in the type of the activations.
#pragma once

#include "contract/engine.h"

namespace sigma {

struct AdapterLayer {
  sigma_real real;  // of the vectors
  bool transposed;  // The weight is stored as (in, out). Then base, u and vt belong to W0ᵀ = u diag(σ) vt, and so U =
                    // vtᵀ.
  sigma_matrix base;  // W0 (out, in), or W0ᵀ; `data` is null if absent
  sigma_matrix u;     // (out, r), or (in, r)
  sigma_matrix vt;    // (r, in), or (r, out)
  sigma_core core;    // r x r
  const void* dense;  // C (r, r), or null if C is `core`; `core` has no terms if this is set
  const void* bias;   // (out), or null

  int64_t in() const { return transposed ? u.rows : vt.columns; }
  int64_t out() const { return transposed ? vt.columns : u.rows; }
  int64_t rank() const { return vt.rows; }
  bool has_base() const { return base.data != nullptr; }
  // Number of values in M, or in a dense C.
  int64_t core_values() const {
    if (dense != nullptr) return core.size * core.size;
    return core.pattern != nullptr ? core.pattern->entries : 0;
  }
};

// The gradients that the pull-back adds to, or overwrites if they are `fresh`. A gradient that is null is not computed.
struct AdapterGradients {
  void* diagonal = nullptr;  // (r)
  void* values = nullptr;    // (z), or (r, r) of a dense core
  void* gate = nullptr;      // (1)
  void* bias = nullptr;      // (out)
  struct {
    int32_t diagonal = 0, values = 0, gate = 0, bias = 0;
  } fresh = {};

  bool wants_samples() const { return values != nullptr || gate != nullptr; }
  bool wants_core() const { return diagonal != nullptr || wants_samples(); }
};

// Elements of the activation that forward saves for backward: P = Vᵀ Xᵀ, (r, N) with padded rows.
int64_t adapter_saved_length(int64_t rank, int64_t tokens);

// Y (N, out) from X (N, in). Saves P in `saved`, which may be null.
void adapter_forward(const Engine& engine, const AdapterLayer& layer, const sigma_matrix& x, const sigma_matrix& y,
                     void* saved);

// Input of a pull-back: P as forward saved it, or X (N, in), from which P is recomputed.
struct AdapterSaved {
  const void* p = nullptr;
  const void* x = nullptr;
};

// The pull-back of dY (N, out). Overwrites dX (N, in), which may be null, and adds to the gradients; adds nothing if it
// runs out of memory. `saved` may be empty if no gradient of the core is wanted.
void adapter_backward(const Engine& engine, const AdapterLayer& layer, const AdapterSaved& saved,
                      const sigma_matrix& dy, void* dx, const AdapterGradients& gradients);

// W' (out, in) = [W0] + U C Vᵀ, or its transpose if the layer is stored so. If d is null and M is 0, W' equals W0
// exactly.
void adapter_merge(const Engine& engine, const AdapterLayer& layer, const sigma_matrix& merged);

// The pull-back of Y = X Wᵀ + b through a weight (out, in), stored as (in, out) if `transposed`; G is stored alike.
// Overwrites dX = dY W, adds Σ_t dY[t] to dbias, and overwrites G = dYᵀ X (out, in), or adds to it if `accumulate`. G
// has the vectors' precision, because it is a sum over tokens and batches. dx, dbias and g may be null; x may be null
// if g is.
struct WeightPullBack {
  sigma_matrix weight;
  bool transposed;
  sigma_matrix dy;
  const void* x;
  void* dx;
  void* dbias;
  void* g;
  bool accumulate;
};
void weight_backward(const Engine& engine, const WeightPullBack& call);

// Adds the core's gradients from K = Uᵀ G V; G (out, in), stored as the weight is, may be the sum over several batches.
void adapter_project(const Engine& engine, const AdapterLayer& layer, const sigma_matrix& g,
                     const AdapterGradients& gradients);

}  // namespace sigma
