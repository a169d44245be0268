// Kernels of a matrix product that packs its operands: the panels, and the products of two panels. Compiled from
// panels.inc once per instruction set; the first use selects the best that the machine has.
#pragma once

#include <cstdint>

#include "contract/backend.h"

namespace sigma::cpu {

// Most rows of a left panel, and columns of a right panel, on any instruction set.
constexpr int kMostPanelRows = 14, kMostPanelColumns = 32;

// Lines [line, line + lines) of an operand, at k from `first` to first + count - 1.
struct PanelSource {
  const sigma_matrix& matrix;
  int64_t line, lines, first, count;
};

/*
 * A panel holds `width` rows (or columns) of an operand, one step after another: a step is one k as float32, or two
 * consecutive k as a pair of bfloat16. Either takes 4 bytes.
 */
struct Panels {
  int depth;    // k per step
  int rows;     // of a left panel, at most
  int columns;  // of a right panel
  // Numbers of an int8 operand are their codes times their scales.
  // Packs lines (line i begins at i · the matrix's stride) as panels (steps, padded) of `padded` lines, each `stride`
  // bytes after the one before. Pads the last panel, and an odd k, with zeros.
  void (*pack_lines)(const PanelSource& from, int padded, void* to, int64_t stride);
  // The same where k numbers the lines, and the operand's rows lie along them.
  void (*pack_across)(const PanelSource& from, int padded, void* to, int64_t stride);
  // tile (height, columns) = a (steps, height) · b (steps, columns) [+ tile if accumulate]; by height - 1.
  void (*multiply[kMostPanelRows])(int64_t steps, const void* a, const void* b, bool accumulate, float* tile);
  // to (rows, columns) = tile [+ bias on every row] [+ to if accumulate]; the tile's stride is `columns` of this table.
  void (*finish)(const float* tile, int64_t rows, int64_t columns, const float* bias, bool accumulate,
                 const sigma_matrix& to, int64_t row, int64_t column);
};

// For products of bfloat16 and int8 matrices (`pairs`), or of any types.
const Panels& panels(bool pairs);

}  // namespace sigma::cpu
