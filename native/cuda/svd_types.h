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

// What a probe's products add up to.
struct SvdSums {
  double residual;      // Σ |A z - U diag(s) Vt z|²
  double image;         // Σ |A z|²
  double squares;       // |A|²
  double values;        // Σ s²
  double u_deviation;   // Σ |Uᵀ U w - w|²
  double vt_deviation;  // the same of Vt
  int values_in_order;  // whether s is finite, not negative and falls
  int padding;
};

// The random vectors of a probe.
constexpr int kProbes = 8;

// Where a routine left its vectors: component i of vector k of item b is at data[b * item + i * component + k *
// vector]. Where `signs` is given, each vector has the sign of its number.
template <class W>
struct SvdVectors {
  const W* data;
  int64_t item, component, vector;
  const W* signs;
};

}  // namespace sigma::cuda
