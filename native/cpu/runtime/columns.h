// Scratch arrays and column-major matrices.
#pragma once

#include <memory>
#include <new>

#include "cpu/runtime/memory.h"

namespace sigma::cpu {

// Elements of T per cache line.
template <class T>
constexpr int kLine = static_cast<int>(kCacheLine / sizeof(T));

struct Free {
  void operator()(void* memory) const { release(memory); }
};
template <class T>
using Numbers = std::unique_ptr<T[], Free>;

// An uninitialised array. Large arrays are aligned to a cache line.
template <class T>
Numbers<T> numbers(size_t count) {
  void* const memory = allocate(count * sizeof(T));
  if (memory == nullptr) throw std::bad_alloc();
  return Numbers<T>(static_cast<T*>(memory));
}

// A column-major matrix.
template <class T>
struct Columns {
  T* data;
  int rows, columns, stride;
  T* column(int j) const { return data + static_cast<size_t>(j) * static_cast<size_t>(stride); }
  T* at(int i, int j) const { return column(j) + i; }
};

// Rows and columns that are transposed at a time: both copies fit the first-level cache.
constexpr int kTurned = 32;

// to = scale aᵀ for at most kTurned rows and columns, by way of a copy: columns whose stride is a power of two share a
// few lines of that cache.
template <class From, class T>
void transpose_block(const Columns<From>& a, const Columns<T>& to, T scale = 1) {
  T copy[kTurned][kTurned + 1];
  for (int j = 0; j < a.columns; ++j) {
    for (int i = 0; i < a.rows; ++i) copy[j][i] = *a.at(i, j) * scale;
  }
  for (int i = 0; i < a.rows; ++i) {
    for (int j = 0; j < a.columns; ++j) *to.at(j, i) = copy[j][i];
  }
}

}  // namespace sigma::cpu
