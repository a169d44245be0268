#include "cpu/svd/krylov.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>

#include "cpu/svd/routes.h"
#include "cpu/svd/semidefinite.h"
#include "cpu/svd/tall.h"

namespace sigma::cpu {
namespace {

// A block of signs from a fixed seed, so that the result is a function of G.
template <class T>
void fill_signs(int length, int rows, T* block) {
  uint64_t state = 0x853c49e6748fea9b;
  const auto count = static_cast<size_t>(length) * kBlockWidth;
  for (size_t i = 0; i < count; ++i) {
    state = state * 6364136223846793005 + 1442695040888963407;
    block[i] = state >> 63 != 0 ? T{-1} : T{1};
  }
  std::fill(block + count, block + static_cast<size_t>(rows) * kBlockWidth, T{0});
}

// The eigenpairs of a projected matrix H (d, d), by falling eigenvalue, and the vectors of at most `count`.
template <class T>
class Projected {
 public:
  Projected(int most, int count)
      : count_(count), vectors_(numbers<T>(square(most))), values_(numbers<T>(static_cast<size_t>(most))),
        copy_(numbers<T>(square(most))) {}

  // `h` holds H in its leading corner. Large eigenvalues come first in H: only a reduction from the top, which reads
  // the lower triangle, keeps the vectors of small ones apart from them.
  bool solve(const Columns<T>& h, int d) {
    d_ = d;
    const Columns<T> copy{copy_.get(), d, d, d};
    for (int j = 0; j < d; ++j) std::copy_n(h.at(j, j), d - j, copy.at(j, j));
    return semidefinite_eigenvectors(copy, values_.get(), {vectors_.get(), d, std::min(count_, d), d});
  }
  // The same from an SVD, which takes longer but finds vectors of small eigenvalues next to large ones more exactly.
  bool refine(const Columns<T>& h) {
    const auto right = numbers<T>(square(d_));
    for (int j = 0; j < d_; ++j) std::copy_n(h.column(j), d_, copy_.get() + static_cast<size_t>(j) * d_);
    return svd_divide_and_conquer(SvdProblem<T>(d_, d_, copy_.get(), right.get(), values_.get(), vectors_.get()));
  }
  double value(int j) const { return static_cast<double>(values_[static_cast<size_t>(j)]); }
  // The vectors, by columns.
  Columns<T> vectors() const { return {vectors_.get(), d_, std::min(count_, d_), d_}; }
  Numbers<T> release_vectors() { return std::move(vectors_); }

 private:
  static size_t square(int size) { return static_cast<size_t>(size) * static_cast<size_t>(size); }

  int d_ = 0, count_;
  Numbers<T> vectors_, values_, copy_;
};

// From this ratio of the eigenvalues on their vectors are refined.
constexpr double kRefined = 32 * 32;
// Rounding of G hides eigenvalues that are smaller than the largest one by more than this.
constexpr double kSteepest = 64 * 64;

}  // namespace

template <class T>
void RitzVectors<T>::write(const Columns<T>& v) const {
  const Blocks<T> all = basis.all(), space{all.data, all.rows, dimensions / kBlockWidth};
  const BlockVectors<T> in_space(dimensions, v.columns), image(v.rows, v.columns);
  to_blocks(Columns<T>{mixture.get(), dimensions, v.columns, dimensions}, in_space.view());
  for (int b = 0; b < image.view().count; ++b) {
    multiply(T{1}, space, in_space.view().block(b), /* accumulate = */ false, image.view().block(b));
  }
  from_blocks(image.view(), v);
}

template <class T>
std::optional<RitzVectors<T>> largest_eigenvectors(const SymmetricBlocks<T>& g, int length, int k, double tolerance) {
  // More starting vectors make faster products, fewer make better use of each dimension.
  constexpr int width = kBlockWidth;
  // Beyond three quarters of its length a decomposition is cheaper.
  const int most = (length - length / 4) / width * width;
  if (most < k + 2 * width) return std::nullopt;
  Basis<T> basis(length, most / width + 1);
  const auto memory = numbers<T>(static_cast<size_t>(most + width) * static_cast<size_t>(most));
  const Columns<T> h{memory.get(), most + width, most, most + width};
  const auto spare = numbers<T>(static_cast<size_t>(width) * static_cast<size_t>(k));
  const Columns<T> off{spare.get(), width, k, width};
  const BlockVectors<T> coefficients(most + width, width);
  // Twice as many vectors as wanted, for `RitzVectors::write`.
  Projected<T> found(most, 2 * k);

  fill_signs(length, g.rows(), basis.next());
  basis.add(/* near = */ 0, coefficients.view().data);
  // What spectra like those of weights need.
  for (int next_check = std::min(5 * k / 2 + 7 * width, most); basis.size() * width <= most;) {
    // G Q = Q H + Q' S Eᵀ, where E has the last `width` columns of the identity.
    const int size = basis.size() * width;
    const Columns<T> column{h.column(size - width), h.rows, width, h.stride};
    g.multiply(basis.last(), basis.next());
    basis.add(/* near = */ 2, coefficients.view().data);
    from_blocks(coefficients.view(), {column.data, size + width, width, column.stride});
    for (int j = 0; j < width; ++j) std::fill(column.at(size + width, j), column.column(j) + column.rows, T{0});
    if (size < next_check && size + width <= most) continue;

    if (!found.solve(h, size)) return std::nullopt;
    // |G v - λ v| of a pair v = Q x is |S xₗ| with xₗ the last `width` numbers of x.
    const Columns<T> x = found.vectors();
    multiply(T{1}, Columns<T>{column.at(size, 0), width, width, column.stride},
             Columns<T>{x.at(size - width, 0), width, k, x.stride}, T{0}, off);
    double errors = 0, squares = 0;
    for (int j = 0; j < k; ++j) {
      const double value = found.value(j);
      double own = 0;
      for (int i = 0; i < width; ++i)
        own += static_cast<double>(off.column(j)[i]) * static_cast<double>(off.column(j)[i]);
      errors += own / std::fmax(value, found.value(0) / kSteepest);
      squares += value;
    }
    const double error = std::sqrt(errors / squares);
    if (!std::isfinite(error)) return std::nullopt;
    if (error <= tolerance) {
      if (found.value(0) > kRefined * found.value(k - 1) && !found.refine(h)) return std::nullopt;
      return RitzVectors<T>{std::move(basis), found.release_vectors(), size};
    }
    // A step of `width` dimensions multiplies the error by exp(-2 √gap), with the gap to the eigenvalue that a block
    // can no longer hold (Musco and Musco 2015).
    double gap = found.value(k - 1) / std::fmax(found.value(k - 1 + width), 1e-30 * found.value(0)) - 1;
    // Of a flat spectrum the smaller value is not found yet, and the gap is smaller than it seems.
    if (error > 0.05) gap /= 3;
    const double steps = std::log(error / tolerance) / (2 * std::sqrt(std::fmax(gap, 1e-9)));
    // Errors fall faster from step to step.
    const double need = width * std::ceil(0.8 * steps);
    if (size + need > most + width) return std::nullopt;
    next_check = size + static_cast<int>(std::clamp<double>(need, width, most));
  }
  return std::nullopt;
}

#define SIGMA_INSTANTIATE(T)      \
  template struct RitzVectors<T>; \
  template std::optional<RitzVectors<T>> largest_eigenvectors<T>(const SymmetricBlocks<T>&, int, int, double);
SIGMA_INSTANTIATE(float)
SIGMA_INSTANTIATE(double)
#undef SIGMA_INSTANTIATE

}  // namespace sigma::cpu
