// The loops around the kernels of panels.h, after Goto and van de Geijn 2008. A task computes a block of C. It packs a
// block of B, which stays in the L2 cache, and multiplies it with one panel of A after another.
#include "cpu/gemm/packed.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "cpu/gemm/panels.h"
#include "cpu/runtime/pool.h"
#include "cpu/runtime/scratch.h"

namespace sigma::cpu {
namespace {

// Below this many multiply-adds, waking a thread costs more than it saves.
constexpr int64_t kParallelFrom = int64_t{1} << 19;

// An operand as a matrix whose lines are packed along k: the rows of A, the columns of B.
struct Side {
  const sigma_matrix& matrix;
  bool across;  // k numbers the stored rows
};

// A block of C.
struct Block {
  int64_t row, rows, column, columns;
};

// Memory for the panels of a block, of `steps` steps of k at a time. A pack routine may write kSlack bytes too far.
struct Room {
  int64_t steps;
  float* sums;       // one tile, or all of the block if k takes several rounds
  std::byte* left;   // one panel
  std::byte* right;  // all panels of the block
};
constexpr int64_t kStepBytes = 4, kSlack = 64;

constexpr size_t whole_lines(int64_t bytes) { return static_cast<size_t>((bytes + 63) / 64 * 64); }

class Product {
 public:
  Product(const sigma_gemm& call, const Panels& kernels)
      : c_(call.c), a_{call.a, call.transpose_a != 0}, b_{call.b, call.transpose_b == 0},
        k_(call.transpose_a != 0 ? call.a.rows : call.a.columns), bias_(static_cast<const float*>(call.bias)),
        accumulate_(call.accumulate != 0), kernels_(kernels) {}

  void run() const {
    const int64_t m = c_.rows, n = c_.columns;
    const bool split = m * n * k_ >= kParallelFrom;
    const int64_t rows = split ? part(m, kRows, kernels_.rows) : m;
    const int64_t columns = split ? part(n, kColumns, kernels_.columns) : std::min<int64_t>(n, kColumns);
    const int64_t across = blocks(n, columns);
    const auto task = [&](int64_t index) {
      const int64_t row = index / across * rows, column = index % across * columns;
      compute({row, std::min(rows, m - row), column, std::min(columns, n - column)});
    };
    const int64_t tasks = blocks(m, rows) * across;
    if (split) return parallel_for(tasks, task);
    for (int64_t i = 0; i < tasks; ++i) task(i);
  }

 private:
  // Most rows and columns of a block, and most steps that are packed at a time: the block of B takes 512 KB at most.
  static constexpr int64_t kRows = 252, kColumns = 256, kSteps = 512;

  // The length of the parts of `length`: a multiple of a panel's, nearly equal, and an even number of them.
  static int64_t part(int64_t length, int64_t most, int64_t panel) {
    const int64_t pairs = std::max<int64_t>(1, (length + most) / (2 * most));
    return blocks(blocks(length, 2 * pairs), panel) * panel;
  }

  void compute(const Block& block) const {
    const int64_t row_panels = blocks(block.rows, kernels_.rows),
                  column_panels = blocks(block.columns, kernels_.columns);
    const int64_t steps = std::min(blocks(k_, kernels_.depth), kSteps);
    const bool whole = steps * kernels_.depth >= k_;
    const int64_t tile = int64_t{kernels_.rows} * kernels_.columns;
    const size_t sums = whole_lines((whole ? 1 : row_panels * column_panels) * tile * int64_t{sizeof(float)});
    const size_t left = whole_lines(steps * kernels_.rows * kStepBytes + kSlack);
    const size_t right = whole_lines(steps * column_panels * kernels_.columns * kStepBytes + kSlack);
    const Scratch scratch(sums + left + right);
    if (auto* const memory = static_cast<std::byte*>(scratch.data()); memory != nullptr) {
      multiply(block, {steps, reinterpret_cast<float*>(memory), memory + sums, memory + sums + left});
      return;
    }
    // Without memory, tile by tile: slower, but the same bits.
    constexpr int64_t kFew = 16;
    alignas(64) float one[kMostPanelRows * kMostPanelColumns];
    alignas(64) std::byte a[kFew * kMostPanelRows * kStepBytes + kSlack];
    alignas(64) std::byte b[kFew * kMostPanelColumns * kStepBytes + kSlack];
    for (int64_t i = 0; i < block.rows; i += kernels_.rows) {
      for (int64_t j = 0; j < block.columns; j += kernels_.columns) {
        multiply({block.row + i, std::min<int64_t>(kernels_.rows, block.rows - i), block.column + j,
                  std::min<int64_t>(kernels_.columns, block.columns - j)},
                 {kFew, one, a, b});
      }
    }
  }

  void multiply(const Block& block, const Room& room) const {
    const int64_t depth = room.steps * kernels_.depth;
    const int64_t tile = int64_t{kernels_.rows} * kernels_.columns;
    for (int64_t k = 0; k < k_; k += depth) {
      const int64_t count = std::min(depth, k_ - k);
      const int64_t steps = blocks(count, kernels_.depth);
      const bool first = k == 0, last = k + depth >= k_;
      const int64_t panel_bytes = steps * kernels_.columns * kStepBytes;
      for (int64_t j = 0, p = 0; j < block.columns; j += kernels_.columns, ++p) {
        pack(b_, block.column + j, std::min<int64_t>(kernels_.columns, block.columns - j), kernels_.columns, k, count,
             room.right + p * panel_bytes);
      }
      float* sums = room.sums;
      for (int64_t i = 0; i < block.rows; i += kernels_.rows) {
        const int height = static_cast<int>(std::min<int64_t>(kernels_.rows, block.rows - i));
        pack(a_, block.row + i, height, height, k, count, room.left);
        for (int64_t j = 0, p = 0; j < block.columns; j += kernels_.columns, ++p) {
          if (first) std::memset(sums, 0, static_cast<size_t>(height * kernels_.columns) * sizeof(float));
          kernels_.multiply[height - 1](steps, room.left, room.right + p * panel_bytes, sums);
          if (last) {
            kernels_.finish(sums, height, std::min<int64_t>(kernels_.columns, block.columns - j), bias_, accumulate_,
                            c_, block.row + i, block.column + j);
          }
          if (!first || !last) sums += tile;
        }
      }
    }
  }

  void pack(const Side& side, int64_t line, int64_t width, int padded, int64_t k, int64_t count, void* to) const {
    (side.across ? kernels_.pack_across : kernels_.pack_lines)(side.matrix, line, static_cast<int>(width), padded, k,
                                                               count, to);
  }

  const sigma_matrix& c_;
  Side a_, b_;
  int64_t k_;
  const float* bias_;
  bool accumulate_;
  const Panels& kernels_;
};

}  // namespace

void multiply_packed(const sigma_gemm& call) {
  // Codes of an int8 operand are widened to the type of the result.
  const bool pairs = call.a.dtype == SIGMA_BFLOAT16 || call.c.dtype == SIGMA_BFLOAT16;
  Product(call, panels(pairs)).run();
}

}  // namespace sigma::cpu
