// An orthonormal basis that grows by blocks of vectors. The same bits for any number of threads.
#pragma once

#include "cpu/svd/block_vectors.h"

namespace sigma::cpu {

template <class T>
class Basis {
 public:
  // For at most `most` blocks of vectors of this length.
  Basis(int length, int most) : length_(length), memory_(length, most * kBlockWidth) {}

  // The number of blocks.
  int size() const { return size_; }
  Blocks<T> all() const { return part(0); }
  T* last() const { return memory_.view().block(size_ - 1); }
  // Memory of the next block, of which `add` makes vectors of the basis.
  T* next() const { return memory_.view().block(size_); }

  // Orthonormalises the next block W against the basis and within itself: W = Q C + W' R, with the block C of the rows
  // of `coefficients` and R (kBlockWidth, kBlockWidth) below it. W is known to be orthogonal to all but the last `near`
  // blocks, up to rounding.
  void add(int near, T* coefficients);

 private:
  Blocks<T> part(int first) const {
    const Blocks<T>& all = memory_.view();
    return {all.block(first), all.rows, size_ - first};
  }
  // c = Qᵀ w; w -= Q c, with the blocks of the basis from `first` on.
  void project(int first, T* w, T* c) const;
  // w = w' r
  void orthonormalise_within(T* w, T* r) const;

  int length_;
  BlockVectors<T> memory_;
  int size_ = 0;
};

}  // namespace sigma::cpu
