// One step of divide and conquer: joins the SVDs of two parts of a bidiagonal matrix and the row between them.
#pragma once

#include "cpu/runtime/columns.h"

namespace sigma::cpu {

// Threads share the parts of a level up to this size, and the work on each larger part.
constexpr int kAlone = 256;

// `size` rows of B, and as many columns and `extra`: an upper part with one column more than rows, a row with `alpha`
// in that column and `beta` in the next one, and a lower part.
template <class T>
struct Halves {
  int upper;  // rows of the upper part
  int size, extra;
  T* d;  // (size) singular values of the parts, with any number between them; those of the whole afterwards
  T alpha, beta;
  const int* order;  // (size) of each part, the places of its singular values in ascending order
  Columns<T> u, v;   // (size, size) and (size + extra, size + extra): blocks of the parts on the diagonal, else zeros
  Columns<T> u2, v2, p;  // scratch of these sizes
};

// Returns false if it does not converge. The same bits for any number of threads.
template <class T>
bool merge(const Halves<T>& halves);

}  // namespace sigma::cpu
