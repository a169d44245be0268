#include "cpu/svd/long_qr.h"

#include <algorithm>

#include "cpu/gemm/blas.h"
#include "cpu/runtime/pool.h"

namespace sigma::cpu {
namespace {

// How many blocks the longer side is split into. A block is at least 256 long, and 8 times as long as wide, so that the
// triangles cost an eighth of the blocks. A block of several panels is factorised by several threads, so it is longer:
// 16 times as long as wide.
int64_t parts_of(int64_t longer, int64_t shorter) {
  const int64_t block = shorter > kQrPanel ? 16 * shorter : std::max<int64_t>(256, 8 * shorter);
  return std::max<int64_t>(1, longer / block);
}

// From this number of parts on, threads share the parts. Otherwise all of them work on one part after the other.
constexpr int64_t kShared = 8;

// Copies to the leading corner of `to`.
template <class T>
void copy(const Columns<T>& from, const Columns<T>& to) {
  for (int j = 0; j < from.columns; ++j) std::copy_n(from.column(j), from.rows, to.column(j));
}

}  // namespace

bool is_long(int64_t longer, int64_t shorter) { return parts_of(longer, shorter) > 1; }

template <class T>
template <class Body>
void LongQr<T>::for_parts(const Body& body) const {
  parallel_if(count_ >= kShared || a_.columns <= kQrPanel, count_, body);
}

template <class T>
LongQr<T>::LongQr(const Columns<T>& a)
    : a_(a), count_(parts_of(a.rows, a.columns)), parts_(static_cast<size_t>(count_)) {
  for_parts([&](int64_t index) { parts_[static_cast<size_t>(index)] = std::make_unique<PanelQr<T>>(part(a_, index)); });
  if (count_ == 1) return;
  const int r = a_.columns, length = blas_int(count_ * r);
  stack_ = numbers<T>(static_cast<size_t>(length) * static_cast<size_t>(r));
  const Columns<T> triangles{stack_.get(), length, r, length};
  for (int64_t index = 0; index < count_; ++index) {
    parts_[static_cast<size_t>(index)]->copy_triangle({triangles.at(static_cast<int>(index) * r, 0), r, r, length});
  }
  next_ = std::make_unique<LongQr>(triangles);
}

template <class T>
Columns<T> LongQr<T>::part(const Columns<T>& c, int64_t index) const {
  const int begin = static_cast<int>(a_.rows * index / count_);
  const int size = static_cast<int>(a_.rows * (index + 1) / count_) - begin;
  return {c.at(begin, 0), size, c.columns, c.stride};
}

template <class T>
void LongQr<T>::copy_triangle(const Columns<T>& to) const {
  if (next_) return next_->copy_triangle(to);
  parts_.front()->copy_triangle(to);
}

template <class T>
void LongQr<T>::apply(const Columns<T>& c) const {
  if (!next_) return parts_.front()->apply(c);
  const int r = a_.columns, length = blas_int(count_ * r);
  const auto memory = numbers<T>(static_cast<size_t>(length) * static_cast<size_t>(c.columns));
  const Columns<T> corners{memory.get(), length, c.columns, length};
  copy({c.data, r, c.columns, c.stride}, corners);
  next_->apply(corners);
  for_parts([&](int64_t index) {
    const Columns<T> own = part(c, index);
    copy({corners.at(static_cast<int>(index) * r, 0), r, c.columns, length}, own);
    parts_[static_cast<size_t>(index)]->apply(own);
  });
}

template class LongQr<float>;
template class LongQr<double>;

}  // namespace sigma::cpu
