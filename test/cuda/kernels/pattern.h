// Sparsity patterns for the checks: a CSR structure and its transpose.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "contract/backend.h"

namespace check {

class Pattern {
 public:
  using Cell = std::pair<int32_t, int32_t>;

  // Cells may repeat.
  Pattern(std::string name, int64_t size, std::vector<Cell> cells, bool banded = false);
  static Pattern random(int64_t size, int64_t entries, unsigned seed);
  static Pattern band(int64_t size, int64_t lower, int64_t upper);
  // Runs of all lengths: row i has columns i / 2 to i.
  static Pattern widening_band(int64_t size);
  // All entries in the middle row, with repeated columns.
  static Pattern one_row(int64_t size, int64_t entries);

  const std::string& name() const { return name_; }
  const std::vector<Cell>& cells() const { return cells_; }  // in CSR order
  sigma_pattern view() const;

 private:
  std::string name_;
  int64_t size_;
  bool banded_;
  int32_t lower_ = 0, upper_ = 0;
  std::vector<Cell> cells_;
  std::vector<int32_t> pointers_, indices_, transposed_pointers_, transposed_indices_, slots_;
};

// The patterns for the checks of products and of gradients.
std::vector<Pattern> all_patterns();

}  // namespace check
