// Scratch arrays and column-major matrices.
#pragma once

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <new>

namespace sigma::cpu {

constexpr size_t kCacheLine = 64;
// Elements of T per cache line.
template <class T>
constexpr int kLine = static_cast<int>(kCacheLine / sizeof(T));

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
template <class T>
using Numbers = std::unique_ptr<T[], Free>;

// An uninitialised array. Large arrays are aligned to a cache line; small ones are not, because malloc is faster.
template <class T>
Numbers<T> numbers(size_t count) {
  constexpr size_t kSmall = 1024;
  const size_t bytes = (std::max<size_t>(1, count) * sizeof(T) + kCacheLine - 1) / kCacheLine * kCacheLine;
  void* const memory = bytes < kSmall ? std::malloc(bytes) : std::aligned_alloc(kCacheLine, bytes);
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
