// The one adapter operator, written once against the backend's table, for every family and every backend:
//
//   C = diag(d) + g·M,  d = [max(0, diagonal)] [- origin],  g = sigmoid(γ)
//   Y = [X W0ᵀ] + (X V) Cᵀ Uᵀ + b
//
// and its pull-back. Intermediates are held as (r, N), tokens contiguous; X and Y are (N, features) as callers hold
// them. A family is a choice of which terms are there.
#pragma once

#include <stdexcept>

#include "backend.h"

namespace sigma {

// A backend call that failed; what() is the backend's own sentence.
class BackendError : public std::runtime_error {
 public:
  BackendError(sigma_status status, const char* message) : std::runtime_error(message), status_(status) {}
  sigma_status status() const noexcept { return status_; }

 private:
  sigma_status status_;
};

// A backend with one environment's context and one dtype: what every recipe needs.
struct Engine {
  const sigma_backend* backend;
  sigma_context* context;
  sigma_dtype dtype;

  void check(sigma_status status) const {
    if (status != SIGMA_OK) throw BackendError(status, backend->last_error());
  }

  // One entry of the table with this context and dtype; a backend may lack it.
  template <class Entry, class... Arguments>
  void call(Entry entry, Arguments... arguments) const {
    if (entry == nullptr) throw BackendError(SIGMA_UNSUPPORTED, "this backend has no such operation");
    check(entry(context, dtype, arguments...));
  }
};

inline size_t element_size(sigma_dtype dtype) {
  return dtype == SIGMA_FLOAT64 ? sizeof(double) : dtype == SIGMA_FLOAT32 ? sizeof(float) : sizeof(uint16_t);
}
// Of the vectors beside matrices of this type.
inline size_t vector_element_size(sigma_dtype dtype) { return dtype == SIGMA_FLOAT64 ? sizeof(double) : sizeof(float); }

struct AdapterLayer {
  int64_t in, out, rank;
  const void* base;  // W0 (out, in), or null
  const void* u;     // (out, r)
  const void* vt;    // (r, in)
  sigma_core core;   // r x r
  const void* bias;  // (out), or null
};

// Where the pull-back adds; null: not wanted, and then not computed.
struct AdapterGradients {
  void* diagonal = nullptr;  // (r)
  void* values = nullptr;    // (z)
  void* gate = nullptr;      // (1)
  void* bias = nullptr;      // (out)

  bool wants_samples() const { return values != nullptr || gate != nullptr; }
  bool wants_core() const { return diagonal != nullptr || wants_samples(); }
};

// Elements of the activation that forward leaves for backward: P = Vᵀ Xᵀ, (r, N) with padded rows.
int64_t adapter_saved_length(int64_t rank, int64_t tokens);

// Y (N, out) from X (N, in). `saved` takes P; null keeps nothing.
void adapter_forward(const Engine& engine, const AdapterLayer& layer, int64_t tokens, const void* x, void* y,
                     void* saved);

// What a pull-back may start from: P as forward left it, or X (N, in), from which P is computed again.
struct AdapterSaved {
  const void* p = nullptr;
  const void* x = nullptr;
};

// The pull-back of dY (N, out). dX (N, in) is overwritten, gradients are added to: all of them, or none if the call
// runs out of memory. `dx` may be null; `saved` may be empty where no gradient of the core is wanted.
void adapter_backward(const Engine& engine, const AdapterLayer& layer, int64_t tokens, const AdapterSaved& saved,
                      const void* dy, void* dx, const AdapterGradients& gradients);

// W' (out, in) = [W0] + U C Vᵀ: where d is null this is W0 + U (gM) Vᵀ, which keeps W0's numbers where M is 0.
void adapter_merge(const Engine& engine, const AdapterLayer& layer, void* merged);

// The pull-back of Y = X Wᵀ + b through a weight (out, in): dX = dY W is overwritten, dbias += Σ_t dY[t], and G = dYᵀ X
// (out, in) is overwritten, or added to where `accumulate`. Each of dx, dbias and g may be null; x where g is.
struct WeightPullBack {
  const void* weight;
  const void* x;
  const void* dy;
  void* dx;
  void* dbias;
  void* g;
  bool accumulate;
};
void weight_backward(const Engine& engine, int64_t out, int64_t in, int64_t tokens, const WeightPullBack& call);

// The core's part of G (out, in), K = Uᵀ G V: the same for any number of batches whose G were summed. Adds.
void adapter_project(const Engine& engine, const AdapterLayer& layer, const void* g, const AdapterGradients& gradients);

}  // namespace sigma
