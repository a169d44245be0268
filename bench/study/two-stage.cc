// Whether a bidiagonalisation in two stages (dense to band, band to bidiagonal) could be faster than the one in
// native/cpu/svd/bidiagonal.cc. Wall-clock time in ms, float32. From the repository's root:
//   g++ -std=c++20 -O3 -ffp-contract=fast -fno-math-errno -fno-trapping-math -Inative bench/study/two-stage.cc
//     -DSIGMA_WRAP_OPENBLAS=1 native/cpu/*.cc native/cpu/*/*.cc -l:openblas-serial/libopenblas.a -lpthread
//     -Wl,--wrap=blas_memory_alloc,--wrap=blas_memory_free -o build/two-stage && build/two-stage 2048 2
// The arguments are the side and the number of threads. It measures
//   pass      one read of the matrix by all threads, and the bandwidth
//   now       the bidiagonalisation, and the bytes of its products with vectors over the time
//   band      stage 1, by panels of b columns and rows: a QR, and two GEMMs on the rest, for each side
//   again     the second back-transformation of both U and V, which stage 2 needs: k reflectors of consecutive sweeps,
//   each
//             of length b, are a block of b + k - 1 rows
// Stage 2 itself is left out, so band + again is a lower limit of what would replace `now`.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "cpu/gemm/blas.h"
#include "cpu/runtime/pool.h"
#include "cpu/svd/bidiagonal.h"
#include "cpu/svd/lapack.h"
#include "cpu/svd/reflectors.h"

namespace {

using namespace sigma::cpu;
using Matrix = std::vector<float>;

double milliseconds(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
}

Columns<float> view(Matrix& m, int rows, int columns) { return {m.data(), rows, columns, rows}; }
Columns<float> block(const Columns<float>& c, int top, int left, int rows, int columns) {
  return {c.at(top, left), rows, columns, c.stride};
}

// c ← c - v w, with inner = vᵀ c; in tiles of columns.
void update(const Columns<float>& v, const Columns<float>& c) {
  constexpr int kTile = 256;
  parallel_for(blocks(c.columns, kTile), [&](int64_t task) {
    const int begin = static_cast<int>(task) * kTile, count = std::min(kTile, c.columns - begin);
    const auto inner = numbers<float>(static_cast<size_t>(v.columns) * static_cast<size_t>(count));
    const Columns<float> own = block(c, 0, begin, c.rows, count), w{inner.get(), v.columns, count, v.columns};
    add_inner_products(v, own, 0.0f, w);
    gemm_by_columns(CblasNoTrans, CblasNoTrans, c.rows, count, v.columns, -1.0f, v.data, v.stride, w.data, w.stride,
                    1.0f, own.data, own.stride);
  });
}

// The same from the right, in tiles of rows.
void update_right(const Columns<float>& c, const Columns<float>& v) {
  constexpr int kTile = 256;
  parallel_for(blocks(c.rows, kTile), [&](int64_t task) {
    const int begin = static_cast<int>(task) * kTile, count = std::min(kTile, c.rows - begin);
    const auto inner = numbers<float>(static_cast<size_t>(v.columns) * static_cast<size_t>(count));
    gemm_by_columns(CblasNoTrans, CblasNoTrans, count, v.columns, c.columns, 1.0f, c.at(begin, 0), c.stride, v.data,
                    v.stride, 0.0f, inner.get(), count);
    gemm_by_columns(CblasNoTrans, CblasTrans, count, c.columns, v.columns, -1.0f, inner.get(), count, v.data, v.stride,
                    1.0f, c.at(begin, 0), c.stride);
  });
}

// A QR of (rows, b) with its triangle. The numbers that follow are not those of a reduction; their cost is.
void panel(const Columns<float>& p, Matrix& spare) {
  std::vector<float> tau(static_cast<size_t>(p.columns)), work(static_cast<size_t>(64 * p.columns));
  spare.resize(static_cast<size_t>(p.rows) * static_cast<size_t>(p.columns));
  for (int j = 0; j < p.columns; ++j) std::copy_n(p.column(j), p.rows, spare.data() + int64_t{j} * p.rows);
  Lapack<float>::geqrf(p.rows, p.columns, spare.data(), p.rows, tau.data(), work.data(), static_cast<int>(work.size()));
  for (float& x : spare) x *= 1e-3f;
}

void band(const Columns<float>& a, int b) {
  Matrix left, right, row;
  for (int i = 0; i + b < a.columns; i += b) {
    const int rest = a.columns - i - b;
    panel(block(a, i, i, a.rows - i, b), left);
    update(view(left, a.rows - i, b), block(a, i, i + b, a.rows - i, rest));
    row.resize(static_cast<size_t>(rest) * static_cast<size_t>(b));
    for (int t = 0; t < b; ++t) {
      for (int j = 0; j < rest; ++j) row[static_cast<size_t>(t) * rest + j] = *a.at(i + t, i + b + j);
    }
    panel(view(row, rest, b), right);
    update_right(block(a, i + b, i + b, a.rows - i - b, rest), view(right, rest, b));
  }
}

// c (n, n): for each group of k sweeps, blocks of b + k - 1 rows from the diagonal down, for tiles of columns that stay
// in the cache.
void again(const Columns<float>& c, int b, int k) {
  constexpr int kTile = 256;
  const int n = c.rows;
  Matrix v(static_cast<size_t>(b + k - 1) * static_cast<size_t>(k), 1e-4f), vt = v;
  parallel_for(blocks(c.columns, kTile), [&](int64_t task) {
    const int begin = static_cast<int>(task) * kTile, count = std::min(kTile, c.columns - begin);
    std::vector<float> inner(static_cast<size_t>(k) * static_cast<size_t>(count));
    for (int sweep = 0; sweep < n; sweep += k) {
      for (int top = sweep; top < n; top += b) {
        const int rows = std::min(b + k - 1, n - top);
        gemm_by_columns(CblasTrans, CblasNoTrans, k, count, rows, 1.0f, v.data(), b + k - 1, c.at(top, begin), c.stride,
                        0.0f, inner.data(), k);
        gemm_by_columns(CblasNoTrans, CblasNoTrans, rows, count, k, -1.0f, vt.data(), b + k - 1, inner.data(), k, 1.0f,
                        c.at(top, begin), c.stride);
      }
    }
  });
}

}  // namespace

int main(int count, char** arguments) {
  const int n = count > 1 ? std::atoi(arguments[1]) : 2048;
  set_threads(count > 2 ? std::atoi(arguments[2]) : 2);
  const auto size = static_cast<size_t>(n);
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  Matrix a(size * size), c(size * size), d(size), e(size), tauq(size), taup(size);
  std::generate(a.begin(), a.end(), [&] { return normal(random); });
  for (int round = 0; round < 2; ++round) {
    std::vector<float> sums(64);
    const double pass = milliseconds([&] {
      parallel_for(64, [&](int64_t part) {
        const size_t begin = a.size() / 64 * static_cast<size_t>(part);
        float lanes[64] = {};
        for (size_t i = begin; i + 64 <= begin + a.size() / 64; i += 64) {
          for (size_t j = 0; j < 64; ++j) lanes[j] += a[i + j];
        }
        for (const float x : lanes) sums[static_cast<size_t>(part)] += x;
      });
    });
    const double bytes = 4.0 * static_cast<double>(a.size());
    std::printf("%d²: pass %.1f ms, %.0f GB/s;", n, pass, 1e-6 * bytes / pass);
    {
      const PaddedColumns<float> padded(n, n);
      for (int j = 0; j < n; ++j) std::copy_n(a.data() + size * static_cast<size_t>(j), size, padded.view().column(j));
      const double now = milliseconds([&] {
        bidiagonalise(padded, Bidiagonal<float>{d.data(), e.data(), tauq.data(), taup.data()});
      });
      std::printf(" now %.0f ms, %.0f GB/s;", now, 1e-6 * bytes * n / 3 / now);
    }
    for (const int b : {32, 64, 128}) {
      c = a;
      std::printf(" band %d: %.0f ms,", b, milliseconds([&] { band(view(c, n, n), b); }));
      for (const int k : {b / 2, b}) {
        c = a;
        std::printf(" again %d: %.0f ms;", k, 2 * milliseconds([&] { again(view(c, n, n), b, k); }));
      }
      std::fflush(stdout);
    }
    std::printf(" sum of one %g\n", static_cast<double>(sums[0] + c[0]));
  }
}
