// Data shared by the host code and the kernels of the SVD.
#pragma once

#include <cstdint>

namespace sigma::cuda {

// A problem; see sigma_svd_problem.
struct SvdItem {
  const void* a;  // (m, n); u (m, r), s (r), vt (r, n); all row-major
  void* u;
  void* s;
  void* vt;
  double scale;  // svd_scale of A
  double unit;   // svd_unit of A
};

// The result of inspecting a matrix.
struct SvdRange {
  double largest;            // largest magnitude
  int64_t first_non_finite;  // index; -1 if all are finite
};

// Number of random vectors in the accuracy check. The CPU needs only four: it uses a Hadamard matrix for short sides,
// which detects any error. Here all vectors are random.
constexpr int kProbes = 8;

// Sums of the accuracy check.
struct SvdSums {
  double residual[kProbes];      // Σ |A z - U diag(s) Vt z|² of each vector z
  double u_deviation[kProbes];   // Σ |Uᵀ U w - w|² of each vector w
  double vt_deviation[kProbes];  // the same of Vt
  double squares;                // |A|²
  double values;                 // Σ s²
  int values_in_order;           // whether s is finite, non-negative and descending
  int padding;
};

// The singular vectors that a routine computed: component i of vector k of item b is
// data[b * item + i * component + k * vector]. If `signs` is given, vector k is multiplied by the sign of signs[k].
template <class W>
struct SvdVectors {
  const W* data;
  int64_t item, component, vector;
  const W* signs;
};

}  // namespace sigma::cuda
