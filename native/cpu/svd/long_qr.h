// Tall-skinny QR (TSQR; Demmel, Grigori, Hoemmen and Langou 2012, "Communication-optimal parallel and sequential QR and
// LU factorizations"): factorises blocks of rows, stacks their triangles and factorises the stack recursively. No sum
// runs over the whole long side, which limits rounding. Few blocks are factorised in turn, each by all threads.
#pragma once

#include <memory>
#include <vector>

#include "cpu/svd/panel_qr.h"

namespace sigma::cpu {

// Whether the longer side is split into blocks.
bool is_long(int64_t longer, int64_t shorter);

// A (m, r) = Q R, m ≥ r. The same bits for any number of threads.
template <class T>
class LongQr {
 public:
  // Factorises in place: `a` must outlive this object.
  explicit LongQr(const Columns<T>& a);

  void copy_triangle(const Columns<T>& to) const;
  // c (m, k), k ≤ r, has an X (r, k) on top; it becomes Q [X; 0], whatever is below X.
  void apply(const Columns<T>& c) const;

 private:
  template <class Body>
  void for_parts(const Body& body) const;
  Columns<T> part(const Columns<T>& c, int64_t index) const;

  Columns<T> a_;
  int64_t count_;  // of parts
  std::vector<std::unique_ptr<PanelQr<T>>> parts_;
  Numbers<T> stack_;              // (parts r, r) triangles
  std::unique_ptr<LongQr> next_;  // factorises the stack; null if there is one part
};

}  // namespace sigma::cpu
