// Tall-skinny QR (TSQR; Demmel, Grigori, Hoemmen and Langou 2012, "Communication-optimal parallel and sequential QR and
// LU factorizations"): factorises blocks in parallel, stacks their triangles and factorises the stack recursively. No
// sum runs over the whole long side, which limits rounding.
#pragma once

#include <memory>

#include "cpu/runtime/columns.h"

namespace sigma::cpu {

// Whether the longer side is split into blocks.
bool is_long(int64_t longer, int64_t shorter);

// A tall A = Q R or a wide A = L Q. Q has the shape of A; R and L are r by r, where r is the shorter side.
template <class T>
class LongQr {
 public:
  // Factorises in place: `a` must outlive this object. A square `a` counts as tall.
  explicit LongQr(const Columns<T>& a);

  void copy_triangle(const Columns<T>& to) const;
  // c has the shape of A and a square X in its leading corner; it becomes Q X (tall) or X Q (wide).
  void apply(const Columns<T>& c) const;

 private:
  Columns<T> part(const Columns<T>& c, int64_t index) const;
  Columns<T> corner(const Columns<T>& c) const { return {c.data, r_, r_, c.stride}; }
  // The stacked triangles of all parts, and the triangle of one part in a stack.
  Columns<T> stack(T* memory) const;
  Columns<T> stacked(const Columns<T>& stack, int64_t index) const;
  void apply_parts(const Columns<T>& c, const Columns<T>* corners) const;

  Columns<T> a_;
  bool tall_;
  int r_, length_;
  int64_t parts_;
  Numbers<T> tau_;                // (parts, r)
  Numbers<T> stack_;              // (parts r, r)
  std::unique_ptr<LongQr> next_;  // factorises the stack; null if there is one part
};

}  // namespace sigma::cpu
