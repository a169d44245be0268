#include <algorithm>

#include "harness.h"

namespace check {

Pattern::Pattern(int64_t size, int64_t entries, unsigned seed) {
  std::mt19937 generator(seed);
  std::multimap<std::pair<int32_t, int32_t>, int> cells;
  const auto limit = static_cast<unsigned>(size);
  for (int64_t p = 0; p < entries; ++p) {
    const auto row = static_cast<int32_t>(generator() % limit);
    cells.insert({{row, static_cast<int32_t>(generator() % limit)}, 0});
  }
  fill(size, cells, false);
}

Pattern Pattern::band(int64_t size, int64_t lower, int64_t upper) {
  std::multimap<std::pair<int32_t, int32_t>, int> cells;
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t j = std::max<int64_t>(0, i - lower); j <= std::min(size - 1, i + upper); ++j) {
      cells.insert({{static_cast<int32_t>(i), static_cast<int32_t>(j)}, 0});
    }
  }
  Pattern pattern;
  pattern.fill(size, cells, true);
  return pattern;
}

void Pattern::fill(int64_t size, const std::multimap<std::pair<int32_t, int32_t>, int>& cells, bool banded) {
  std::multimap<std::pair<int32_t, int32_t>, int32_t> by_column;
  rows.assign(static_cast<size_t>(size) + 1, 0);
  transposed_rows = rows;
  for (const auto& [cell, unused] : cells) {
    by_column.insert({{cell.second, cell.first}, static_cast<int32_t>(columns.size())});
    columns.push_back(cell.second);
    ++rows[static_cast<size_t>(cell.first) + 1];
    ++transposed_rows[static_cast<size_t>(cell.second) + 1];
  }
  for (const auto& [cell, slot] : by_column) {
    transposed_columns.push_back(cell.second);
    slots.push_back(slot);
  }
  for (size_t i = 0; i < static_cast<size_t>(size); ++i) {
    rows[i + 1] += rows[i];
    transposed_rows[i + 1] += transposed_rows[i];
  }
  view = {size,
          static_cast<int64_t>(columns.size()),
          rows.data(),
          columns.data(),
          transposed_rows.data(),
          transposed_columns.data(),
          slots.data(),
          banded ? 1 : 0,
          0,
          0};
}

}  // namespace check

int main() {
  check::operations();
  check::bidiagonal();
  check::divide();
  check::triangle();
  check::block_vectors();
  check::semidefinite();
  check::svd_chain();
  check::svd_partial();
  check::adapters();
  check::each();
  check::concurrency();
  check::limits();
  std::printf("%d passed, %d failed\n", check::passes, check::failures);
  return check::failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
