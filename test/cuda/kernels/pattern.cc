#include "pattern.h"

#include <algorithm>
#include <numeric>
#include <random>

namespace check {
namespace {

std::vector<int32_t> pointers_of(const std::vector<int32_t>& sorted, int64_t size) {
  std::vector<int32_t> pointers(static_cast<size_t>(size) + 1);
  for (const int32_t i : sorted) ++pointers[static_cast<size_t>(i) + 1];
  std::partial_sum(pointers.begin(), pointers.end(), pointers.begin());
  return pointers;
}

}  // namespace

Pattern::Pattern(std::string name, int64_t size, std::vector<Cell> cells, bool banded)
    : name_(std::move(name)), size_(size), banded_(banded), cells_(std::move(cells)) {
  std::stable_sort(cells_.begin(), cells_.end());
  slots_.resize(cells_.size());
  std::iota(slots_.begin(), slots_.end(), 0);
  std::stable_sort(slots_.begin(), slots_.end(), [&](int32_t p, int32_t q) {
    return cells_[static_cast<size_t>(p)].second < cells_[static_cast<size_t>(q)].second;
  });
  std::vector<int32_t> rows, columns;
  for (const auto& [row, column] : cells_) {
    rows.push_back(row);
    indices_.push_back(column);
    if (!banded_) continue;
    lower_ = std::max(lower_, row - column);
    upper_ = std::max(upper_, column - row);
  }
  for (const int32_t slot : slots_) {
    columns.push_back(cells_[static_cast<size_t>(slot)].second);
    transposed_indices_.push_back(cells_[static_cast<size_t>(slot)].first);
  }
  pointers_ = pointers_of(rows, size);
  transposed_pointers_ = pointers_of(columns, size);
}

Pattern Pattern::random(int64_t size, int64_t entries, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<Cell> cells;
  for (int64_t p = 0; p < entries; ++p) {
    const auto row = static_cast<int32_t>(generator() % static_cast<unsigned>(size));
    cells.emplace_back(row, static_cast<int32_t>(generator() % static_cast<unsigned>(size)));
  }
  return {"random, " + std::to_string(entries) + " of " + std::to_string(size), size, cells};
}

Pattern Pattern::band(int64_t size, int64_t lower, int64_t upper) {
  std::vector<Cell> cells;
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t j = std::max<int64_t>(0, i - lower); j <= std::min(size - 1, i + upper); ++j) {
      cells.emplace_back(static_cast<int32_t>(i), static_cast<int32_t>(j));
    }
  }
  return {"band -" + std::to_string(lower) + " to " + std::to_string(upper) + " of " + std::to_string(size), size,
          cells, true};
}

Pattern Pattern::widening_band(int64_t size) {
  std::vector<Cell> cells;
  for (int32_t i = 0; i < size; ++i) {
    for (int32_t j = i / 2; j <= i; ++j) cells.emplace_back(i, j);
  }
  return {"widening band of " + std::to_string(size), size, cells, true};
}

Pattern Pattern::one_row(int64_t size, int64_t entries) {
  std::vector<Cell> cells;
  for (int64_t p = 0; p < entries; ++p) {
    cells.emplace_back(static_cast<int32_t>(size / 2), static_cast<int32_t>(p * 7 % size));
  }
  return {"one row, " + std::to_string(entries) + " of " + std::to_string(size), size, cells};
}

sigma_pattern Pattern::view() const {
  return {size_,
          static_cast<int64_t>(cells_.size()),
          pointers_.data(),
          indices_.data(),
          transposed_pointers_.data(),
          transposed_indices_.data(),
          slots_.data(),
          banded_ ? 1 : 0,
          lower_,
          upper_};
}

std::vector<Pattern> all_patterns() {
  std::vector<Pattern> patterns;
  patterns.push_back(Pattern::random(1, 1, 1));
  patterns.push_back(Pattern::random(1, 3, 1));
  patterns.push_back(Pattern::random(7, 20, 2));
  patterns.push_back(Pattern::random(150, 900, 3));
  patterns.push_back(Pattern::random(40, 5, 4));
  patterns.push_back({"no entries of 9", 9, {}});
  patterns.push_back(Pattern::one_row(33, 100));
  patterns.push_back({"one entry 30 times", 5, std::vector<Pattern::Cell>(30, {3, 1})});
  for (const int64_t size : {1, 7, 67}) {
    for (const int64_t d : {0, 1, 2, 8}) patterns.push_back(Pattern::band(size, d, d));
  }
  patterns.push_back(Pattern::band(70, 8, 3));
  patterns.push_back(Pattern::band(70, 0, 5));
  patterns.push_back(Pattern::band(33, 11, 0));
  patterns.push_back(Pattern::band(20, 20, 20));
  patterns.push_back(Pattern::widening_band(37));
  return patterns;
}

}  // namespace check
