#include "pattern.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "handles.h"
#include "memory.h"

namespace sigma {
namespace {

constexpr napi_type_tag kPatternTag = {0x5e1f7c5a2b9d4d11, 0x8a4e6f30c7d2b605};

// All five arrays, in one block of device memory.
struct PatternCopy {
  std::unique_ptr<DeviceBlock> block;
  sigma_pattern view;
};

struct PatternStorage : Owned {
  std::vector<int32_t> row_pointers, column_indices;
  std::vector<int32_t> transposed_row_pointers, transposed_indices, transposed_slots;
  sigma_pattern view{};
  std::map<const Place*, PatternCopy> copies;

  // Includes the copies on devices.
  int64_t bytes() const {
    const size_t numbers = 2 * row_pointers.size() + 3 * column_indices.size();
    return static_cast<int64_t>(numbers * sizeof(int32_t) * (1 + copies.size()));
  }
};

void check_structure(const int32_t* row_pointers, int64_t size, const int32_t* column_indices, int64_t entries) {
  bool valid = row_pointers[0] == 0 && row_pointers[size] == entries;
  for (int64_t i = 0; valid && i < size; ++i) valid = row_pointers[i] <= row_pointers[i + 1];
  if (!valid)
    throw ArgumentError("rowPointers: expected non-decreasing numbers from 0 to " + std::to_string(entries) +
                        ", the number of entries");
  for (int64_t p = 0; p < entries; ++p) {
    if (column_indices[p] < 0 || column_indices[p] >= size) {
      throw ArgumentError("columnIndices: expected indices below " + std::to_string(size) + ", got " +
                          std::to_string(column_indices[p]));
    }
  }
}

// A stable counting sort by column.
void transpose(PatternStorage& p, int64_t size) {
  p.transposed_row_pointers.assign(static_cast<size_t>(size) + 1, 0);
  p.transposed_indices.resize(p.column_indices.size());
  p.transposed_slots.resize(p.column_indices.size());
  for (const int32_t column : p.column_indices) ++p.transposed_row_pointers[static_cast<size_t>(column) + 1];
  for (size_t j = 0; j < static_cast<size_t>(size); ++j) {
    p.transposed_row_pointers[j + 1] += p.transposed_row_pointers[j];
  }
  std::vector<int32_t> next(p.transposed_row_pointers.begin(), p.transposed_row_pointers.end() - 1);
  for (int32_t row = 0; row < size; ++row) {
    for (int32_t slot = p.row_pointers[static_cast<size_t>(row)]; slot < p.row_pointers[static_cast<size_t>(row) + 1];
         ++slot) {
      const int32_t at = next[static_cast<size_t>(p.column_indices[static_cast<size_t>(slot)])]++;
      p.transposed_indices[static_cast<size_t>(at)] = row;
      p.transposed_slots[static_cast<size_t>(at)] = slot;
    }
  }
}

// Whether each row is one non-empty run of consecutive columns whose ends never move left from row to row.
int32_t is_banded(const PatternStorage& p, int64_t size) {
  int32_t first = 0;
  int32_t last = 0;
  for (size_t i = 0; i < static_cast<size_t>(size); ++i) {
    const auto begin = static_cast<size_t>(p.row_pointers[i]);
    const auto end = static_cast<size_t>(p.row_pointers[i + 1]);
    if (begin == end || p.column_indices[begin] < first || p.column_indices[end - 1] < last) return 0;
    for (size_t q = begin + 1; q < end; ++q) {
      if (p.column_indices[q] != p.column_indices[q - 1] + 1) return 0;
    }
    first = p.column_indices[begin];
    last = p.column_indices[end - 1];
  }
  // An empty column would be an empty row of the transpose.
  for (size_t j = 0; j < static_cast<size_t>(size); ++j) {
    if (p.transposed_row_pointers[j] == p.transposed_row_pointers[j + 1]) return 0;
  }
  return 1;
}

// Sets the lower and the upper bandwidth.
void measure_band(sigma_pattern& p) {
  for (int32_t i = 0; i < p.size; ++i) {
    p.lower = std::max(p.lower, i - p.column_indices[p.row_pointers[i]]);
    p.upper = std::max(p.upper, p.column_indices[p.row_pointers[i + 1] - 1] - i);
  }
}

PatternCopy copy_to(const std::shared_ptr<Place>& place, const PatternStorage& storage) {
  const std::array<const std::vector<int32_t>*, 5> arrays = {&storage.row_pointers, &storage.column_indices,
                                                             &storage.transposed_row_pointers,
                                                             &storage.transposed_indices, &storage.transposed_slots};
  // Each array starts on a multiple of 16 bytes.
  const auto padded = [](const std::vector<int32_t>& array) { return (array.size() + 3) / 4 * 4; };
  size_t total = 0;
  for (const auto* array : arrays) total += padded(*array);
  auto block = std::make_unique<DeviceBlock>(place, total * sizeof(int32_t));
  auto* next = static_cast<int32_t*>(block->data());
  std::array<const int32_t*, 5> found{};
  for (size_t i = 0; i < arrays.size(); ++i) {
    const std::vector<int32_t>& array = *arrays[i];
    found[i] = next;
    if (array.empty()) continue;
    place->engine().check(place->backend->upload(place->context, next, array.data(), array.size() * sizeof(int32_t)));
    next += padded(array);
  }
  sigma_pattern view = storage.view;
  view.row_pointers = found[0];
  view.column_indices = found[1];
  view.transposed_row_pointers = found[2];
  view.transposed_indices = found[3];
  view.transposed_slots = found[4];
  return {std::move(block), view};
}

PatternStorage& storage_of(Napi::Value handle, const char* name) {
  Owned* const found = Handles::behind(handle.Env(), handle, kPatternTag);
  if (found == nullptr) throw ArgumentError(std::string(name) + ": expected the handle of a sparsity pattern");
  return *static_cast<PatternStorage*>(found);
}

}  // namespace

Napi::Object make_pattern(Napi::Env env, const Environment& environment, const int32_t* row_pointers, int64_t size,
                          const int32_t* column_indices, int64_t entries) {
  auto storage = std::make_unique<PatternStorage>();
  storage->row_pointers.assign(row_pointers, row_pointers + size + 1);
  storage->column_indices.assign(column_indices, column_indices + entries);
  // Checks the copy: another thread may write to a shared buffer at any time.
  check_structure(storage->row_pointers.data(), size, storage->column_indices.data(), entries);
  transpose(*storage, size);
  storage->view = {size,
                   entries,
                   storage->row_pointers.data(),
                   storage->column_indices.data(),
                   storage->transposed_row_pointers.data(),
                   storage->transposed_indices.data(),
                   storage->transposed_slots.data(),
                   is_banded(*storage, size),
                   0,
                   0};
  if (storage->view.banded != 0) measure_band(storage->view);

  const int64_t bytes = storage->bytes();
  return Handles::make(env, environment.handles, kPatternTag, std::move(storage), bytes, bytes);
}

const sigma_pattern& pattern_of(Napi::Value handle, const char* name) { return storage_of(handle, name).view; }

const sigma_pattern& pattern_at(Napi::Value handle, const char* name, const std::shared_ptr<Place>& place) {
  PatternStorage& storage = storage_of(handle, name);
  if (!place->has_memory()) return storage.view;
  const auto known = storage.copies.find(place.get());
  if (known != storage.copies.end()) return known->second.view;
  const sigma_pattern& view = storage.copies.emplace(place.get(), copy_to(place, storage)).first->second.view;
  storage.account(handle.Env(), storage.bytes(), storage.bytes());
  return view;
}

}  // namespace sigma
