#include <algorithm>
#include <cmath>
#include <numeric>

#include "cuda/runtime/launch.h"
#include "cuda/svd/batch.h"
#include "cuda/svd/kernels/probe.cuh"
#include "cuda/svd/kernels/svd.cuh"

namespace sigma::cuda {
namespace {

constexpr unsigned kThreads = 256;
// Block size for passes down columns: kAcross adjacent columns, kDown threads per column.
constexpr unsigned kAcross = 32, kDown = 8;

unsigned blocks_of(int64_t elements, int64_t per_block, int64_t most) {
  return static_cast<unsigned>(std::clamp<int64_t>((elements + per_block - 1) / per_block, 1, most));
}

unsigned rows_of_grid(const SvdBatch& batch) { return static_cast<unsigned>(batch.count); }

template <class... Parameters, class... Arguments>
void launch_pass(const SvdBatch& batch, void (*kernel)(Parameters...), unsigned blocks, dim3 block, size_t shared,
                 Arguments... arguments) {
  launch_on(batch.lane.stream(), "svd", kernel, dim3(blocks, rows_of_grid(batch)), block, shared, arguments...);
}

// A pass over `elements`: several per thread, or one if `each` is set.
template <class... Parameters, class... Arguments>
void launch_over(const SvdBatch& batch, void (*kernel)(Parameters...), int64_t elements, bool each,
                 Arguments... arguments) {
  constexpr int64_t kMost = 4096;
  const unsigned blocks = blocks_of(elements, each ? kThreads : 4 * kThreads, each ? INT32_MAX : kMost);
  launch_pass(batch, kernel, blocks, dim3(kThreads), 0, arguments...);
}

template <class W, class... Parameters, class... Arguments>
void launch_tiles(const SvdBatch& batch, void (*kernel)(Parameters...), int64_t rows, int64_t columns,
                  Arguments... arguments) {
  const int64_t tiles = ((rows + kSvdTile - 1) / kSvdTile) * ((columns + kSvdTile - 1) / kSvdTile);
  launch_pass(batch, kernel, static_cast<unsigned>(tiles), dim3(kSvdTile, kSvdTileRows),
              kSvdTile * (kSvdTile + 1) * sizeof(W), arguments...);
}

template <class T, class W>
void store_vectors(const SvdBatch& batch, bool to_u, const SvdVectors<W>& from, const int* order) {
  const int64_t length = to_u ? batch.shape.m : batch.shape.n, count = batch.shape.r();
  // In row-major u a vector's components are strided, in vt contiguous.
  const bool alike = to_u ? from.vector == 1 : from.component == 1;
  if (alike) {
    launch_over(batch, svd_store_kernel<W, T>, length * count, false, batch.items(), to_u, from, length, count, order);
  } else {
    launch_tiles<W>(batch, svd_store_transposed_kernel<W, T>, to_u ? count : length, to_u ? length : count,
                    batch.items(), to_u, from, length, count, order);
  }
}

template <class T>
void fix_signs(const SvdBatch& batch) {
  const SvdShape& shape = batch.shape;
  const SvdNumbers<int> negative(batch.lane, batch.count * shape.r());
  launch_pass(batch, svd_signs_kernel<T>, blocks_of(shape.r(), kAcross, INT32_MAX), dim3(kAcross, kDown),
              kAcross * kDown * sizeof(SvdEntry<T>), batch.items(), shape.m, shape.r(), negative.data());
  launch_over(batch, svd_flip_kernel<T>, shape.size(), false, batch.items(), shape.m, shape.n, shape.r(),
              static_cast<const int*>(negative.data()));
}

// One matrix times the probe vectors.
template <class T>
void times_rows(const SvdBatch& batch, SvdOperand which, int64_t rows, int64_t columns, const double* x, bool scaled,
                bool weighted, double* out, double* squares) {
  constexpr unsigned kWide = 128;
  launch_pass(batch, svd_rows_kernel<T>, static_cast<unsigned>(rows), dim3(kWide),
              (kProbes + 1) * kWide * sizeof(double), batch.items(), which, rows, columns, SvdProbeInput{x}, scaled,
              weighted, out, squares);
}

template <class T>
void times_columns(const SvdBatch& batch, SvdOperand which, int64_t rows, int64_t columns, const double* x,
                   double* out) {
  launch_pass(batch, svd_columns_kernel<T>, blocks_of(columns, kAcross, INT32_MAX), dim3(kAcross, kDown),
              kProbes * kAcross * kDown * sizeof(double), batch.items(), which, rows, columns, SvdProbeInput{x}, out);
}

}  // namespace

template <class T>
std::vector<SvdRange> svd_ranges(const SvdBatch& batch) {
  constexpr unsigned kSmall = 128;
  const unsigned blocks = blocks_of(batch.shape.size(), 16 * kSmall, 256);
  const SvdNumbers<SvdRange> parts(batch.lane, batch.count * blocks), ranges(batch.lane, batch.count);
  launch_pass(batch, svd_range_kernel<T>, blocks, dim3(kSmall), kSmall * sizeof(SvdRange), batch.items(),
              batch.shape.size(), parts.data());
  launch_on(batch.lane.stream(), "svd", svd_merge_ranges_kernel<SvdRange>,
            dim3(blocks_of(batch.count, kThreads, INT32_MAX)), dim3(kThreads), 0,
            static_cast<const SvdRange*>(parts.data()), static_cast<int>(blocks), batch.count, ranges.data());
  return ranges.read();
}

template <class T>
void svd_zero(const SvdBatch& batch) {
  const SvdShape& shape = batch.shape;
  launch_over(batch, svd_zero_kernel<T>, shape.size(), false, batch.items(), shape.m, shape.n, shape.r());
}

template <class T, class W>
void svd_load(const SvdBatch& batch, W* to) {
  const SvdShape& shape = batch.shape;
  if (shape.tall()) {
    launch_tiles<W>(batch, svd_load_transposed_kernel<T, W>, shape.m, shape.n, batch.items(), shape.m, shape.n, to);
  } else {
    launch_over(batch, svd_load_kernel<T, W>, shape.size(), false, batch.items(), shape.size(), to);
  }
}

template <class T, class W>
void svd_store(const SvdBatch& batch, const W* values, const SvdVectors<W>& long_side,
               const SvdVectors<W>& short_side) {
  const int64_t r = batch.shape.r();
  const SvdNumbers<int> order(batch.lane, batch.count * r);
  order.zero();
  launch_over(batch, svd_order_kernel<W>, r, true, values, r, order.data());
  const int* const known = order.data();
  launch_over(batch, svd_values_kernel<W, T>, r, true, batch.items(), values, r, known);
  store_vectors<T>(batch, true, batch.shape.tall() ? long_side : short_side, known);
  store_vectors<T>(batch, false, batch.shape.tall() ? short_side : long_side, known);
  fix_signs<T>(batch);
}

template <class T>
std::vector<SvdSums> svd_sums(const SvdBatch& batch) {
  const int64_t m = batch.shape.m, n = batch.shape.n, r = batch.shape.r(), probes = batch.count * kProbes;
  const SvdNumbers<double> image(batch.lane, probes * m), squares(batch.lane, batch.count * m);
  const SvdNumbers<double> rebuilt(batch.lane, probes * m), inner(batch.lane, probes * std::max(r, n));
  const SvdNumbers<double> u_returned(batch.lane, probes * r), vt_returned(batch.lane, probes * r);
  const SvdNumbers<SvdSums> sums(batch.lane, batch.count);
  // `rebuilt` first holds U w.
  times_rows<T>(batch, SvdOperand::u, m, r, nullptr, false, false, rebuilt.data(), nullptr);
  times_columns<T>(batch, SvdOperand::u, m, r, rebuilt.data(), u_returned.data());
  times_columns<T>(batch, SvdOperand::vt, r, n, nullptr, inner.data());
  times_rows<T>(batch, SvdOperand::vt, r, n, inner.data(), false, false, vt_returned.data(), nullptr);
  times_rows<T>(batch, SvdOperand::a, m, n, nullptr, true, false, image.data(), squares.data());
  times_rows<T>(batch, SvdOperand::vt, r, n, nullptr, false, true, inner.data(), nullptr);
  times_rows<T>(batch, SvdOperand::u, m, r, inner.data(), false, false, rebuilt.data(), nullptr);
  const SvdProducts products = {image.data(), squares.data(), rebuilt.data(), u_returned.data(), vt_returned.data()};
  launch_pass(batch, svd_sums_kernel<T>, 1, dim3(kSvdSumThreads), kSvdSumThreads * sizeof(SvdSums), batch.items(), m, r,
              products, sums.data());
  return sums.read();
}

void svd_reverse_columns(const SvdBatch& batch, double* v) {
  const int64_t n = batch.shape.columns();
  launch_over(batch, svd_reverse_columns_kernel<double>, n * (n / 2), false, v, n);
}

void svd_diagonal(const SvdBatch& batch, const double* c, int64_t rows, double* values, bool multiplies) {
  launch_over(batch, svd_diagonal_kernel<double>, batch.shape.columns(), true, c, rows, batch.shape.columns(),
              multiplies, values);
}

std::vector<double> svd_deviations(const SvdBatch& batch, const double* g) {
  const int64_t n = batch.shape.columns();
  const SvdNumbers<double> squares(batch.lane, batch.count * n);
  launch_pass(batch, svd_deviation_kernel<double>, static_cast<unsigned>(n), dim3(kThreads), kThreads * sizeof(double),
              g, n, squares.data());
  const std::vector<double> columns = squares.read();
  std::vector<double> deviations;
  for (auto column = columns.begin(); column != columns.end(); column += n) {
    deviations.push_back(std::sqrt(std::accumulate(column, column + n, 0.0)));
  }
  return deviations;
}

template std::vector<SvdRange> svd_ranges<float>(const SvdBatch&);
template std::vector<SvdRange> svd_ranges<double>(const SvdBatch&);
template void svd_zero<float>(const SvdBatch&);
template void svd_zero<double>(const SvdBatch&);
template void svd_load<float, float>(const SvdBatch&, float*);
template void svd_load<float, double>(const SvdBatch&, double*);
template void svd_load<double, double>(const SvdBatch&, double*);
template void svd_store<float, float>(const SvdBatch&, const float*, const SvdVectors<float>&,
                                      const SvdVectors<float>&);
template void svd_store<float, double>(const SvdBatch&, const double*, const SvdVectors<double>&,
                                       const SvdVectors<double>&);
template void svd_store<double, double>(const SvdBatch&, const double*, const SvdVectors<double>&,
                                        const SvdVectors<double>&);
template std::vector<SvdSums> svd_sums<float>(const SvdBatch&);
template std::vector<SvdSums> svd_sums<double>(const SvdBatch&);

}  // namespace sigma::cuda
