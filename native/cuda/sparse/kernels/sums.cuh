// All sums of one launch: the blocks of the rows, then those of the columns. Either may be absent.
#pragma once

#include "cuda/sparse/kernels/columns.cuh"
#include "cuda/sparse/kernels/rows.cuh"

namespace sigma::cuda {

template <class T>
struct Sums {
  RowDots<T> rows;
  ColumnSums<T> columns;
};

// Shared memory: kTicketBytes, and the numbers of sum_rows or of sum_columns.
template <class T>
__global__ void __launch_bounds__(kWarpSize* kWarps, 4) sums_kernel(const SIGMA_IN_PLACE Sums<T> p) {
  auto* const memory = shared_memory<unsigned char>();
  auto* const ticket = reinterpret_cast<unsigned*>(memory);
  auto* const numbers = reinterpret_cast<Number<T>*>(memory + kTicketBytes);
  const unsigned of_rows = p.rows.groups * p.rows.splits;
  if (blockIdx.x < of_rows) {
    sum_rows(p.rows, blockIdx.x % p.rows.groups, blockIdx.x / p.rows.groups, ticket, numbers);
  } else {
    const unsigned block = blockIdx.x - of_rows;
    sum_columns(p.columns, block % p.columns.groups, block / p.columns.groups, ticket, numbers);
  }
}

}  // namespace sigma::cuda
