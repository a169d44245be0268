// Matrices in blocks of kBlockWidth columns, each block by rows: products with one block read memory in order and copy
// nothing. All give the same bits for any number of threads.
#pragma once

#include "cpu/runtime/columns.h"
#include "cpu/runtime/simd.h"

namespace sigma::cpu {

// The numbers of a block of kBlockWidth rows.
constexpr size_t kSquare = static_cast<size_t>(kBlockWidth) * kBlockWidth;

// The number of blocks of `columns` columns.
constexpr int block_count(int columns) { return columns / kBlockWidth + (columns % kBlockWidth != 0 ? 1 : 0); }
// Rows are padded to this number, and columns too.
constexpr int padded(int length) { return block_count(length) * kBlockWidth; }

template <class T>
struct Blocks {
  T* data;
  int rows;   // a multiple of kBlockWidth
  int count;  // of blocks
  T* block(int64_t b, int row = 0) const {
    return data + (static_cast<size_t>(b) * static_cast<size_t>(rows) + static_cast<size_t>(row)) * kBlockWidth;
  }
};

// Memory of a matrix in blocks.
template <class T>
class BlockVectors {
 public:
  BlockVectors(int rows, int columns)
      : memory_(numbers<T>(static_cast<size_t>(padded(rows)) * static_cast<size_t>(padded(columns)))),
        view_{memory_.get(), padded(rows), block_count(columns)} {}
  const Blocks<T>& view() const { return view_; }

 private:
  Numbers<T> memory_;
  Blocks<T> view_;
};

// The lower triangle of a symmetric matrix G in blocks, which begin on the diagonal.
template <class T>
class SymmetricBlocks {
 public:
  // Copies the lower triangle of g.
  explicit SymmetricBlocks(const Columns<T>& g);

  int rows() const { return padded(size_); }
  int count() const { return block_count(size_); }
  // The block y = G x.
  void multiply(const T* x, T* y) const;

 private:
  // Row `row` of block b, on the diagonal or below it.
  T* at(int64_t b, int row) const {
    const int64_t before = b * rows() - b * (b - 1) / 2 * kBlockWidth;
    return memory_.get() + static_cast<size_t>(before + row - b * kBlockWidth) * kBlockWidth;
  }

  int size_;
  Numbers<T> memory_;
};

// to = c; padding is zero.
template <class T>
void to_blocks(const Columns<T>& c, const Blocks<T>& to);

// c = from, without the padding.
template <class T>
void from_blocks(const Blocks<T>& from, const Columns<T>& c);

// The block y (kBlockWidth · a.count rows) = aᵀ x.
template <class T>
void multiply_transposed(const Blocks<T>& a, const T* x, T* y);

// The block y (a.rows rows) = alpha a x [+ y]; without y it may be the only block of a. There is at least one block.
template <class T>
void multiply(T alpha, const Blocks<T>& a, const T* x, bool accumulate, T* y);

}  // namespace sigma::cpu
