// What the SVD's host side and its kernels tell each other.
#pragma once

#include <cstdint>

namespace sigma::cuda {

// A problem, as sigma_svd_problem has it.
struct SvdItem {
  const void* a;  // (m, n) by rows, as u (m, r), s (r) and vt (r, n)
  void* u;
  void* s;
  void* vt;
  double scale;  // a power of two that A is multiplied with before a routine sees it
  double unit;   // one that brings the largest number of A near 1
};

// What is found of a matrix before anything is done with it.
struct SvdRange {
  double largest;            // magnitude
  int64_t first_non_finite;  // -1 where all are finite
};

// The random vectors of a probe. The CPU has four: its vectors for short sides are a Hadamard matrix's, which no error
// escapes. These are random for all sides.
constexpr int kProbes = 8;

// What a probe's products add up to.
struct SvdSums {
  double residual[kProbes];      // Σ |A z - U diag(s) Vt z|² of each vector z
  double u_deviation[kProbes];   // Σ |Uᵀ U w - w|² of each vector w
  double vt_deviation[kProbes];  // the same of Vt
  double squares;                // |A|²
  double values;                 // Σ s²
  int values_in_order;           // whether s is finite, not negative and falls
  int padding;
};

// Where a routine left its vectors: component i of vector k of item b is at data[b * item + i * component + k *
// vector]. Where `signs` is given, each vector has the sign of its number.
template <class W>
struct SvdVectors {
  const W* data;
  int64_t item, component, vector;
  const W* signs;
};

}  // namespace sigma::cuda
