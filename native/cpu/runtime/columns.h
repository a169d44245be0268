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

}  // namespace sigma::cpu
