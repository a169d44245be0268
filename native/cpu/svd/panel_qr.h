// Householder QR of a tall matrix in panels, on the pool: while one task factorises the next panel, the others update
// the columns behind it (look-ahead).
#pragma once

#include <vector>

#include "cpu/runtime/columns.h"

namespace sigma::cpu {

// Columns per panel. A matrix of one panel is factorised by one thread.
constexpr int kQrPanel = 128;

// A (m, r) = Q R, m ≥ r. The same bits for any number of threads.
template <class T>
class PanelQr {
 public:
  // Factorises in place: `a` must outlive this object.
  explicit PanelQr(const Columns<T>& a);

  void copy_triangle(const Columns<T>& to) const;
  // c (m, k) has an X (r, k) on top; it becomes Q [X; 0], whatever is below X.
  void apply(const Columns<T>& c) const;

 private:
  // The reflectors of one panel: H₀ H₁ … = 1 - V triangle Vᵀ with V = [corner; rest].
  struct Panel {
    int first;            // of its rows and columns
    Columns<T> corner;    // (k, k) unit lower triangle
    Columns<T> rest;      // (m - first - k, k) in a
    Columns<T> triangle;  // (k, k) upper triangle
  };
  int width_at(int first) const { return std::min(kQrPanel, a_.columns - first); }
  void factorise(size_t index);
  void update(const Panel& panel, bool transposed, bool rest_is_zero, const Columns<T>& c) const;

  Columns<T> a_;
  Numbers<T> small_;  // corners and triangles
  std::vector<Panel> panels_;
};

}  // namespace sigma::cpu
