// QR of a matrix with a long side, in blocks (Demmel, Grigori, Hoemmen and Langou 2012, "Communication-optimal parallel
// and sequential QR and LU factorizations"): each block has a triangle, and the triangles, stacked, are decomposed in
// the same way. So no sum runs over all of a long side, where rounding would pile up, and blocks go side by side.
#pragma once

#include <memory>

#include "cpu/runtime/columns.h"

namespace sigma::cpu {

// Whether the longer side is cut into blocks at all.
bool is_long(int64_t longer, int64_t shorter);

// A tall A = Q R, or a wide A = L Q. The triangle and Q are r by r and r by the length of the longer side.
template <class T>
class LongQr {
 public:
  // Works in the memory of `a`, which has to outlive this object. Tall if `a` has as many rows as columns.
  explicit LongQr(const Columns<T>& a);

  void copy_triangle(const Columns<T>& to) const;
  // c, of the shape of A, holds a square X in its first corner and becomes Q X (tall) or X Q (wide).
  void apply(const Columns<T>& c) const;

 private:
  Columns<T> part(const Columns<T>& c, int64_t index) const;
  Columns<T> corner(const Columns<T>& c) const { return {c.data, r_, r_, c.stride}; }
  // The triangles of the parts, one after the other.
  Columns<T> stack(T* memory) const;
  Columns<T> stacked(const Columns<T>& stack, int64_t index) const;
  void apply_parts(const Columns<T>& c, const Columns<T>* corners) const;

  Columns<T> a_;
  bool tall_;
  int r_, length_;
  int64_t parts_;
  Numbers<T> tau_;                // (parts, r)
  Numbers<T> stack_;              // (parts r, r)
  std::unique_ptr<LongQr> next_;  // of the stack; none for one part
};

}  // namespace sigma::cpu
