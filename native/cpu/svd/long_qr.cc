#include "cpu/svd/long_qr.h"

#include <algorithm>

#include "cpu/gemm/blas.h"
#include "cpu/runtime/pool.h"
#include "cpu/svd/lapack.h"
#include "cpu/svd/reflectors.h"

namespace sigma::cpu {
namespace {

// How many blocks the longer side is split into. A block is at least 256 long, and 8 times as long as wide, so that the
// triangles cost an eighth of the blocks. A wide block is at least 1024 long, and 4 times as long as wide: more blocks
// for more threads.
int64_t parts_of(int64_t longer, int64_t shorter) {
  const int64_t block = std::max<int64_t>(std::min<int64_t>(8 * shorter, 1024), 4 * shorter);
  return std::max<int64_t>(1, longer / std::max<int64_t>(256, block));
}

// Copies to the leading corner of `to`.
template <class T>
void copy(const Columns<T>& from, const Columns<T>& to) {
  for (int j = 0; j < from.columns; ++j) std::copy_n(from.column(j), from.rows, to.column(j));
}

// Copies the triangle of a QR (upper) or LQ (lower) from the leading corner of `from`; zeros elsewhere.
template <class T>
void triangle_of(const Columns<T>& from, bool upper, const Columns<T>& to) {
  for (int j = 0; j < to.columns; ++j) {
    for (int i = 0; i < to.rows; ++i) to.column(j)[i] = (upper ? i <= j : i >= j) ? from.column(j)[i] : T{0};
  }
}

// Vectors per task.
constexpr int kTile = 1024;

}  // namespace

bool is_long(int64_t longer, int64_t shorter) { return parts_of(longer, shorter) > 1; }

template <class T>
LongQr<T>::LongQr(const Columns<T>& a)
    : a_(a), tall_(a.rows >= a.columns), r_(std::min(a.rows, a.columns)), length_(std::max(a.rows, a.columns)),
      parts_(parts_of(length_, r_)), tau_(numbers<T>(static_cast<size_t>(parts_) * static_cast<size_t>(r_))) {
  parallel_for(parts_, [&](int64_t index) {
    const Columns<T> own = part(a_, index);
    const int lwork = blas_int(int64_t{64} * r_);
    const auto work = numbers<T>(static_cast<size_t>(lwork));
    T* const tau = tau_.get() + index * r_;
    if (tall_) {
      Lapack<T>::geqrf(own.rows, own.columns, own.data, own.stride, tau, work.get(), lwork);
    } else {
      Lapack<T>::gelqf(own.rows, own.columns, own.data, own.stride, tau, work.get(), lwork);
    }
  });
  if (parts_ == 1) return;
  stack_ = numbers<T>(static_cast<size_t>(parts_ * r_) * static_cast<size_t>(r_));
  const Columns<T> triangles = stack(stack_.get());
  for (int64_t index = 0; index < parts_; ++index) {
    triangle_of(part(a_, index), tall_, stacked(triangles, index));
  }
  next_ = std::make_unique<LongQr>(triangles);
}

template <class T>
Columns<T> LongQr<T>::part(const Columns<T>& c, int64_t index) const {
  const int begin = static_cast<int>(length_ * index / parts_);
  const int size = static_cast<int>(length_ * (index + 1) / parts_) - begin;
  if (tall_) return {c.at(begin, 0), size, c.columns, c.stride};
  return {c.column(begin), c.rows, size, c.stride};
}

template <class T>
Columns<T> LongQr<T>::stack(T* memory) const {
  const int length = blas_int(parts_ * r_);
  if (tall_) return {memory, length, r_, length};
  return {memory, r_, length, r_};
}

template <class T>
Columns<T> LongQr<T>::stacked(const Columns<T>& stack, int64_t index) const {
  const int begin = static_cast<int>(index * r_);
  return {tall_ ? stack.at(begin, 0) : stack.column(begin), r_, r_, stack.stride};
}

template <class T>
void LongQr<T>::copy_triangle(const Columns<T>& to) const {
  if (next_) return next_->copy_triangle(to);
  triangle_of(a_, tall_, to);
}

template <class T>
void LongQr<T>::apply(const Columns<T>& c) const {
  if (!next_) return apply_parts(c, nullptr);
  const auto memory = numbers<T>(static_cast<size_t>(parts_ * r_) * static_cast<size_t>(r_));
  const Columns<T> corners = stack(memory.get());
  copy(corner(c), corner(corners));
  next_->apply(corners);
  apply_parts(c, &corners);
}

// Multiplies the leading corner of each part of c, or `corners` if given, by the Q of that part.
template <class T>
void LongQr<T>::apply_parts(const Columns<T>& c, const Columns<T>* corners) const {
  const int64_t tiles = blocks(r_, kTile);
  parallel_for(parts_ * tiles, [&](int64_t task) {
    const int64_t index = task / tiles;
    const int begin = static_cast<int>(task % tiles) * kTile;
    const int vectors = std::min(kTile, r_ - begin);
    // The tile's vectors; their first r numbers are in the corner.
    const auto tile = [&](const Columns<T>& whole) -> Columns<T> {
      if (tall_) return {whole.column(begin), whole.rows, vectors, whole.stride};
      return {whole.at(begin, 0), vectors, whole.columns, whole.stride};
    };
    const Columns<T> own = tile(part(c, index));
    if (corners != nullptr) copy(tile(stacked(*corners, index)), own);
    if (tall_) {
      for (int j = 0; j < vectors; ++j) std::fill(own.at(r_, j), own.column(j) + own.rows, T{0});
      apply_columns(part(a_, index), tau_.get() + index * r_, own);
    } else {
      for (int j = r_; j < own.columns; ++j) std::fill_n(own.column(j), vectors, T{0});
      apply_rows(part(a_, index), 0, tau_.get() + index * r_, own);
    }
  });
}

template class LongQr<float>;
template class LongQr<double>;

}  // namespace sigma::cpu
