// The one adapter operator, written once against the backend's table, for every family and every backend:
//
//   C = diag(d) + g·M,  d = [max(0, ] diagonal [+ offset] [)] [- origin],  g = sigmoid(γ)
//   Y = [X W0ᵀ] + (X V) Cᵀ Uᵀ + b
//
// and its pull-back. C may be a dense matrix instead, whose products are GEMMs. Intermediates are held as (r, N),
// tokens contiguous, in the type of the activations; X and Y are (N, features) as callers hold them. A family is a
// choice of which terms are there.
#pragma once

#include "contract/engine.h"

namespace sigma {

struct AdapterLayer {
  sigma_real real;    // of the vectors
  sigma_matrix base;  // W0 (out, in); `data` is null where there is none
  sigma_matrix u;     // (out, r)
  sigma_matrix vt;    // (r, in)
  sigma_core core;    // r x r
  const void* dense;  // C itself (r, r), or null: then C is `core`, which otherwise has no terms
  const void* bias;   // (out), or null

  int64_t in() const { return vt.columns; }
  int64_t out() const { return u.rows; }
  int64_t rank() const { return vt.rows; }
  bool has_base() const { return base.data != nullptr; }
  // Numbers of M, or of a dense C.
  int64_t core_values() const {
    if (dense != nullptr) return core.size * core.size;
    return core.pattern != nullptr ? core.pattern->entries : 0;
  }
};

// Where the pull-back adds; null: not wanted, and then not computed.
struct AdapterGradients {
  void* diagonal = nullptr;  // (r)
  void* values = nullptr;    // (z), or (r, r) of a dense core
  void* gate = nullptr;      // (1)
  void* bias = nullptr;      // (out)

  bool wants_samples() const { return values != nullptr || gate != nullptr; }
  bool wants_core() const { return diagonal != nullptr || wants_samples(); }
};

// Elements of the activation that forward leaves for backward: P = Vᵀ Xᵀ, (r, N) with padded rows.
int64_t adapter_saved_length(int64_t rank, int64_t tokens);

// Y (N, out) from X (N, in). `saved` takes P; null keeps nothing.
void adapter_forward(const Engine& engine, const AdapterLayer& layer, const sigma_matrix& x, const sigma_matrix& y,
                     void* saved);

// What a pull-back may start from: P as forward left it, or X (N, in), from which P is computed again.
struct AdapterSaved {
  const void* p = nullptr;
  const void* x = nullptr;
};

// The pull-back of dY (N, out). dX (N, in) is overwritten, gradients are added to: all of them, or none if the call
// runs out of memory. `dx` may be null; `saved` may be empty where no gradient of the core is wanted.
void adapter_backward(const Engine& engine, const AdapterLayer& layer, const AdapterSaved& saved,
                      const sigma_matrix& dy, void* dx, const AdapterGradients& gradients);

// W' (out, in) = [W0] + U C Vᵀ: where d is null this is W0 + U (gM) Vᵀ, which keeps W0's numbers where M is 0.
void adapter_merge(const Engine& engine, const AdapterLayer& layer, const sigma_matrix& merged);

// The pull-back of Y = X Wᵀ + b through a weight (out, in): dX = dY W is overwritten, dbias += Σ_t dY[t], and G = dYᵀ X
// (out, in) is overwritten, or added to where `accumulate`. Each of dx, dbias and g may be null; x where g is.
struct WeightPullBack {
  sigma_matrix weight;
  sigma_matrix dy;
  const void* x;
  void* dx;
  void* dbias;
  void* g;
  bool accumulate;
};
void weight_backward(const Engine& engine, const WeightPullBack& call);

// The core's part of G (out, in), K = Uᵀ G V: the same for any number of batches whose G were summed. Adds.
void adapter_project(const Engine& engine, const AdapterLayer& layer, const sigma_matrix& g,
                     const AdapterGradients& gradients);

}  // namespace sigma
