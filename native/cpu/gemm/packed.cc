// The loops around the kernels of panels.h, after Goto and van de Geijn 2008. All of A is packed first, or as many of
// its rows as fit in a few megabytes. A task computes a block of C: it packs a block of B, which stays in the L2 cache,
// and multiplies it with one panel of A after another.
#include "cpu/gemm/packed.h"

#include <algorithm>
#include <cstddef>

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

// A step of a line takes kStepBytes in a panel. A pack routine may write kSlack bytes too far.
constexpr int64_t kStepBytes = 4, kSlack = 64;

// Panels of rows of A, from `row` on, for all k: each `stride` bytes after the one before.
struct Left {
  const std::byte* data;  // null: not packed
  int64_t row, stride;
};

// Memory for a block, of `steps` steps of k at a time.
struct Room {
  int64_t steps;
  float* sums;       // one tile, or all of the block if k takes several rounds
  std::byte* right;  // all panels of B
  std::byte* left;   // one panel of A, if it is not packed
};

constexpr size_t whole_lines(int64_t bytes) { return static_cast<size_t>((bytes + 63) / 64 * 64); }

class Product {
 public:
  Product(const sigma_gemm& call, const Panels& kernels)
      : c_(call.c), a_{call.a, call.transpose_a != 0}, b_{call.b, call.transpose_b == 0},
        k_(call.transpose_a != 0 ? call.a.rows : call.a.columns), bias_(static_cast<const float*>(call.bias)),
        accumulate_(call.accumulate != 0), kernels_(kernels) {}

  void run() const {
    const int64_t m = c_.rows;
    const int64_t stride = blocks(k_, kernels_.depth) * kernels_.rows * kStepBytes + kSlack;
    const int64_t rows = part(m, std::max<int64_t>(1, kLeftBytes / stride) * kernels_.rows, kernels_.rows);
    for (int64_t row = 0; row < m; row += rows) multiply_rows(row, std::min(rows, m - row), stride);
  }

 private:
  // Most bytes of packed rows of A; most rows and columns of a block, and most steps that are packed at a time: the
  // block of B takes 512 KB at most.
  static constexpr int64_t kLeftBytes = int64_t{8} << 20, kRows = 1008, kColumns = 256, kSteps = 512;
  // Panels of A that a task packs, so that it reads whole cache lines where k numbers the rows.
  static constexpr int64_t kTogether = 8;

  // The length of the parts of `length`: a multiple of a panel's, at most `most`, and nearly equal.
  static int64_t part(int64_t length, int64_t most, int64_t panel) {
    return blocks(blocks(length, blocks(length, most)), panel) * panel;
  }

  void multiply_rows(int64_t first, int64_t count, int64_t stride) const {
    const int64_t panels = blocks(count, kernels_.rows);
    const Scratch scratch(static_cast<size_t>(panels * stride));
    auto* const memory = static_cast<std::byte*>(scratch.data());
    const auto pack_panels = [&](int64_t task) {
      const int64_t row = task * kTogether * kernels_.rows;
      const int64_t some = std::min(kTogether * kernels_.rows, count - row), rest = some % kernels_.rows;
      std::byte* const to = memory + task * kTogether * stride;
      pack(a_, first + row, some - rest, kernels_.rows, 0, k_, to, stride);
      // The last panel is as narrow as what is left.
      if (rest > 0) {
        pack(a_, first + row + some - rest, rest, static_cast<int>(rest), 0, k_, to + some / kernels_.rows * stride, 0);
      }
    };
    const int64_t n = c_.columns;
    const bool split = count * n * k_ >= kParallelFrom;
    // Two blocks a thread, so that the load balances. A block of B is packed once for each block of rows.
    const int64_t columns = part(n, kColumns, kernels_.columns), across = blocks(n, columns);
    const int64_t down = split ? std::min(panels, blocks(2 * threads(), across)) : 1;
    const int64_t rows = part(count, std::min(kRows, blocks(count, down)), kernels_.rows);
    const auto compute_block = [&](int64_t index) {
      const int64_t row = index / across * rows, column = index % across * columns;
      compute({first + row, std::min(rows, count - row), column, std::min(columns, n - column)},
              {memory, first, stride});
    };
    if (memory != nullptr) parallel_if(split, blocks(panels, kTogether), pack_panels);
    parallel_if(split, blocks(count, rows) * across, compute_block);
  }

  void compute(const Block& block, const Left& left) const {
    const int64_t row_panels = blocks(block.rows, kernels_.rows),
                  column_panels = blocks(block.columns, kernels_.columns);
    const int64_t steps = std::min(blocks(k_, kernels_.depth), kSteps);
    const bool whole = steps * kernels_.depth >= k_;
    const int64_t tile = int64_t{kernels_.rows} * kernels_.columns;
    const size_t sums = whole_lines((whole ? 1 : row_panels * column_panels) * tile * int64_t{sizeof(float)});
    const size_t right = whole_lines(steps * column_panels * kernels_.columns * kStepBytes + kSlack);
    const Scratch scratch(sums + right);
    auto* const memory = static_cast<std::byte*>(scratch.data());
    if (left.data != nullptr && memory != nullptr) {
      multiply(block, left, {steps, reinterpret_cast<float*>(memory), memory + sums, nullptr});
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
                 {}, {kFew, one, b, a});
      }
    }
  }

  void multiply(const Block& block, const Left& left, const Room& room) const {
    const int64_t depth = room.steps * kernels_.depth;
    const int64_t tile = int64_t{kernels_.rows} * kernels_.columns;
    for (int64_t k = 0; k < k_; k += depth) {
      const int64_t count = std::min(depth, k_ - k);
      const int64_t steps = blocks(count, kernels_.depth);
      const bool first = k == 0, last = k + depth >= k_;
      const int64_t panel_bytes = steps * kernels_.columns * kStepBytes;
      pack(b_, block.column, block.columns, kernels_.columns, k, count, room.right, panel_bytes);
      float* sums = room.sums;
      for (int64_t i = 0; i < block.rows; i += kernels_.rows) {
        const int height = static_cast<int>(std::min<int64_t>(kernels_.rows, block.rows - i));
        const std::byte* panel = room.left;
        if (left.data != nullptr) {
          const int64_t index = (block.row + i - left.row) / kernels_.rows;
          panel = left.data + index * left.stride + k / kernels_.depth * height * kStepBytes;
        } else {
          pack(a_, block.row + i, height, height, k, count, room.left, 0);
        }
        for (int64_t j = 0, p = 0; j < block.columns; j += kernels_.columns, ++p) {
          kernels_.multiply[height - 1](steps, panel, room.right + p * panel_bytes, /* accumulate = */ !first, sums);
          if (last) {
            kernels_.finish(sums, height, std::min<int64_t>(kernels_.columns, block.columns - j), bias_, accumulate_,
                            c_, block.row + i, block.column + j);
          }
          if (!first || !last) sums += tile;
        }
      }
    }
  }

  void pack(const Side& side, int64_t line, int64_t lines, int padded, int64_t k, int64_t count, void* to,
            int64_t stride) const {
    (side.across ? kernels_.pack_across : kernels_.pack_lines)({side.matrix, line, lines, k, count}, padded, to,
                                                               stride);
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
