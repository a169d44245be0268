// The loops around the kernels of panels.h, after Goto and van de Geijn 2008. A task computes a block of C. It packs a
// block of B, which stays in the L2 cache, and multiplies it with one panel of A after another.
#include "cpu/gemm/packed.h"

#include <algorithm>
#include <cstring>

#include "cpu/gemm/panels.h"
#include "cpu/runtime/pool.h"
#include "cpu/runtime/thread_scratch.h"

namespace sigma::cpu {
namespace {

// Below this many multiply-adds, waking a thread costs more than it saves.
constexpr int64_t kParallelFrom = int64_t{1} << 19;

// An operand as a matrix whose lines are packed along k: the rows of A, the columns of B.
struct Side {
  const sigma_matrix& matrix;
  bool across;  // k numbers the stored rows
};

// A block of C, and the memory for its panels.
struct Block {
  int64_t row, rows, column, columns;
};

// Steps of k that a block packs at a time, and bytes of scratch for one.
struct Room {
  int64_t steps;
  float* sums;   // (tiles of the block), each rows * columns of a panel
  char* left;    // one panel
  char* right;   // all panels of the block
};

class Product {
 public:
  Product(const sigma_gemm& call, const Panels& kernels)
      : c_(call.c),
        a_{call.a, call.transpose_a != 0},
        b_{call.b, call.transpose_b == 0},
        k_(call.transpose_a != 0 ? call.a.rows : call.a.columns),
        bias_(static_cast<const float*>(call.bias)),
        accumulate_(call.accumulate != 0),
        kernels_(kernels) {}

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
  // Most rows and columns of a block, and most steps that are packed at a time: the block of B is 512 KB.
  static constexpr size_t kSlack = 64;
  static constexpr int64_t kRows = 252, kColumns = 256, kSteps = 512;

  // The length of the parts of `length`: a multiple of a panel's, nearly equal, and an even number of them.
  static int64_t part(int64_t length, int64_t most, int64_t panel) {
    const int64_t pairs = std::max<int64_t>(1, (length + most) / (2 * most));
    return blocks(blocks(length, 2 * pairs), panel) * panel;
  }

  void compute(const Block& block) const {
    const int64_t row_panels = blocks(block.rows, kernels_.rows), column_panels = blocks(block.columns, kernels_.columns);
    const int64_t steps = std::min(blocks(k_, kernels_.depth), kSteps);
    const bool whole = steps * kernels_.depth >= k_;
    const int64_t tile = int64_t{kernels_.rows} * kernels_.columns;
    const size_t sums = static_cast<size_t>((whole ? 1 : row_panels * column_panels) * tile) * sizeof(float);
    const size_t left = static_cast<size_t>(steps * kernels_.rows) * 4, right = static_cast<size_t>(steps * column_panels * kernels_.columns) * 4;
    const auto rounded = [](size_t bytes) { return (bytes + kSlack + 63) / 64 * 64; };
    char* const memory = static_cast<char*>(thread_scratch(rounded(sums) + rounded(left) + rounded(right)));
    if (memory != nullptr) {
      multiply(block, {steps, reinterpret_cast<float*>(memory), memory + rounded(sums), memory + rounded(sums) + rounded(left)});
      return;
    }
    // Without memory, tile by tile.
    constexpr int64_t kFew = 16;
    alignas(64) float one[kMostPanelRows * kMostPanelColumns];
    alignas(64) char a[kFew * kMostPanelRows * 4 + kSlack], b[kFew * kMostPanelColumns * 4 + kSlack];
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
      const int64_t panel_bytes = steps * kernels_.columns * 4;
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
            kernels_.finish(sums, height, std::min<int64_t>(kernels_.columns, block.columns - j), bias_, accumulate_, c_,
                            block.row + i, block.column + j);
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
  Product(call, panels(call.a.dtype == SIGMA_BFLOAT16 && call.b.dtype == SIGMA_BFLOAT16)).run();
}

}  // namespace sigma::cpu
