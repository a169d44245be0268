#include "cpu/svd/panel_qr.h"

#include <algorithm>

#include "cpu/gemm/blas.h"
#include "cpu/runtime/pool.h"
#include "cpu/svd/lapack.h"
#include "cpu/svd/reflectors.h"

namespace sigma::cpu {
namespace {

// Columns per task of an update.
constexpr int kTile = 128;

// The columns [begin, begin + count) of c from row `top` on.
template <class T>
Columns<T> block(const Columns<T>& c, int top, int begin, int count) {
  return {c.at(top, begin), c.rows - top, count, c.stride};
}

}  // namespace

template <class T>
PanelQr<T>::PanelQr(const Columns<T>& a) : a_(a), small_(numbers<T>(static_cast<size_t>(a.columns) * 2 * kQrPanel)) {
  for (int first = 0; first < a_.columns; first += kQrPanel) {
    const int k = width_at(first);
    T* const memory = small_.get() + size_t{2} * kQrPanel * static_cast<size_t>(first);
    panels_.push_back({first,
                       {memory, k, k, k},
                       {a_.at(first + k, first), a_.rows - first - k, k, a_.stride},
                       {memory + static_cast<size_t>(k) * k, k, k, k}});
  }
  factorise(0);
  for (size_t index = 0; index + 1 < panels_.size(); ++index) {
    const Panel& panel = panels_[index];
    const int next = panel.first + kQrPanel;
    const int beyond = next + width_at(next);
    parallel_for(1 + blocks(a_.columns - beyond, kTile), [&](int64_t task) {
      const int begin = task == 0 ? next : beyond + static_cast<int>(task - 1) * kTile;
      const int count = task == 0 ? beyond - next : std::min(kTile, a_.columns - begin);
      update(panel, /* transposed = */ true, /* rest_is_zero = */ false, block(a_, panel.first, begin, count));
      if (task == 0) factorise(index + 1);
    });
  }
}

template <class T>
void PanelQr<T>::factorise(size_t index) {
  const auto& [first, corner, rest, triangle] = panels_[index];
  const int k = corner.columns;
  const Columns<T> whole = block(a_, first, first, k);
  const auto tau = numbers<T>(static_cast<size_t>(k));
  const int lwork = 64 * k;
  const auto work = numbers<T>(static_cast<size_t>(lwork));
  Lapack<T>::geqrf(whole.rows, k, whole.data, /* lda = */ whole.stride, tau.get(), work.get(), lwork);
  for (int j = 0; j < k; ++j) {
    T* const v = corner.column(j);
    std::fill_n(v, j, T{0});
    v[j] = tau[j] == 0 ? T{0} : T{1};  // a zero column is the identity; its tail is zero already
    std::copy(whole.at(j + 1, j), whole.at(k, j), v + j + 1);
  }
  block_triangle(corner, rest, tau.get(), triangle);
}

// c ← (1 - V triangle Vᵀ) c, or with the transposed triangle. `rest_is_zero`: c is zero below the corner's rows.
template <class T>
void PanelQr<T>::update(const Panel& panel, bool transposed, bool rest_is_zero, const Columns<T>& c) const {
  const auto& [first, corner, rest, triangle] = panel;
  const int k = corner.columns;
  const auto size = static_cast<size_t>(k) * static_cast<size_t>(c.columns);
  const auto sums = numbers<T>(2 * size);
  const Columns<T> inner{sums.get(), k, c.columns, k}, w{sums.get() + size, k, c.columns, k};
  const Columns<T> below = block(c, k, 0, c.columns);
  add_inner_products(corner, c, T{0}, inner);
  if (!rest_is_zero) add_inner_products(rest, below, T{1}, inner);
  gemm_by_columns(transposed ? CblasTrans : CblasNoTrans, CblasNoTrans, k, c.columns, k, /* alpha = */ T{1},
                  triangle.data, /* lda = */ k, inner.data, /* ldb = */ k, /* beta = */ T{0}, w.data, /* ldc = */ k);
  gemm_by_columns(CblasNoTrans, CblasNoTrans, k, c.columns, k, /* alpha = */ T{-1}, corner.data, /* lda = */ k, w.data,
                  /* ldb = */ k, /* beta = */ T{1}, c.data, /* ldc = */ c.stride);
  gemm_by_columns(CblasNoTrans, CblasNoTrans, rest.rows, c.columns, k, /* alpha = */ T{-1}, rest.data,
                  /* lda = */ rest.stride, w.data, /* ldb = */ k, /* beta = */ T{1}, below.data,
                  /* ldc = */ below.stride);
}

template <class T>
void PanelQr<T>::copy_triangle(const Columns<T>& to) const {
  for (int j = 0; j < to.columns; ++j) {
    std::copy_n(a_.column(j), j + 1, to.column(j));
    std::fill_n(to.at(j + 1, j), to.rows - j - 1, T{0});
  }
}

template <class T>
void PanelQr<T>::apply(const Columns<T>& c) const {
  parallel_for(blocks(c.columns, kTile), [&](int64_t task) {
    const int begin = static_cast<int>(task) * kTile;
    const int count = std::min(kTile, c.columns - begin);
    for (int j = begin; j < begin + count; ++j) std::fill(c.at(a_.columns, j), c.column(j) + c.rows, T{0});
    for (size_t index = panels_.size(); index-- > 0;) {
      const Panel& panel = panels_[index];
      update(panel, /* transposed = */ false, /* rest_is_zero = */ index + 1 == panels_.size(),
             block(c, panel.first, begin, count));
    }
  });
}

template class PanelQr<float>;
template class PanelQr<double>;

}  // namespace sigma::cpu
