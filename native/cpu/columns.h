// Scratch memory, and matrices by columns in it.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

namespace sigma::cpu {

constexpr size_t kCacheLine = 64;

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
template <class T>
using Numbers = std::unique_ptr<T[], Free>;

// From a cache line on, of no particular content.
template <class T>
Numbers<T> numbers(size_t count) {
  const size_t bytes = (std::max<size_t>(1, count) * sizeof(T) + kCacheLine - 1) / kCacheLine * kCacheLine;
  void* const memory = std::aligned_alloc(kCacheLine, bytes);
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
