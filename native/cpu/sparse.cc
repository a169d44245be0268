// The sparse core C = diag(d) + g·M on intermediates (r, N), tokens contiguous: every product is a sum of scaled rows,
// every gradient a dot of rows. Outputs gather, so no two threads write one number and no order depends on threads.
#include <algorithm>
#include <cmath>

#include "ops.h"
#include "pool.h"
#include "simd.h"

namespace sigma::cpu {
namespace {

// A task covers so many rows of the core and so many tokens; the tokens' rows then stay in the second-level cache.
constexpr int64_t kRows = 128;
constexpr int64_t kTokens = 256;

template <class T>
T gate_factor(const sigma_core& core) {
  if (core.gate == nullptr) return T{1};
  return T{1} / (T{1} + std::exp(-*static_cast<const T*>(core.gate)));
}

// One direction of the pattern: which rows of the dense operand feed row i, and where their values stand.
struct Gather {
  const int32_t* pointers;
  const int32_t* indices;
  const int32_t* slots;  // null: the values stand in order
};

Gather direction(const sigma_core& core, bool transpose) {
  if (core.pattern == nullptr) return {nullptr, nullptr, nullptr};
  const sigma_pattern& p = *core.pattern;
  return transpose ? Gather{p.transposed_row_pointers, p.transposed_indices, p.transposed_slots}
                   : Gather{p.row_pointers, p.column_indices, nullptr};
}

}  // namespace

// out (r, N) = C dense, or Cᵀ dense
template <class T>
void spmm(const sigma_core& core, bool transpose, const sigma_matrix& dense, const sigma_matrix& out) {
  const T g = gate_factor<T>(core);
  const Gather gather = direction(core, transpose);
  const T* const diagonal = static_cast<const T*>(core.diagonal);
  const T* const values = static_cast<const T*>(core.values);
  const T* const from = static_cast<const T*>(dense.data);
  T* const to = static_cast<T*>(out.data);
  const int64_t row_blocks = blocks(core.size, kRows);

  parallel_for(row_blocks * blocks(dense.columns, kTokens), [&](int64_t task) {
    const int64_t first_row = task % row_blocks * kRows;
    const int64_t first_token = task / row_blocks * kTokens;
    const int64_t tokens = std::min(kTokens, dense.columns - first_token);
    for (int64_t i = first_row; i < std::min(first_row + kRows, core.size); ++i) {
      const int32_t begin = gather.pointers != nullptr ? gather.pointers[i] : 0;
      const int32_t end = gather.pointers != nullptr ? gather.pointers[i + 1] : 0;
      const bool in_order = gather.slots == nullptr;
      kernels<T>().gather(tokens, diagonal != nullptr ? diagonal[i] : T{0},
                          diagonal != nullptr ? from + i * dense.stride + first_token : nullptr, g, end - begin,
                          gather.indices != nullptr ? gather.indices + begin : nullptr,
                          in_order ? nullptr : gather.slots + begin,
                          in_order && values != nullptr ? values + begin : values, from + first_token, dense.stride,
                          to + i * out.stride + first_token);
    }
  });
}

// samples[p] = Σ_t a[i_p, t] b[j_p, t]: block after block of tokens, each block's dot in the kernel's fixed order
template <class T>
void sddmm(const sigma_pattern& pattern, const sigma_matrix& a, const sigma_matrix& b, T* samples) {
  const T* const left = static_cast<const T*>(a.data);
  const T* const right = static_cast<const T*>(b.data);
  parallel_for(blocks(pattern.size, kRows), [&](int64_t task) {
    const int64_t begin = task * kRows;
    const int64_t end = std::min(begin + kRows, pattern.size);
    std::fill(samples + pattern.row_pointers[begin], samples + pattern.row_pointers[end], T{0});
    for (int64_t t = 0; t < a.columns; t += kTokens) {
      const int64_t tokens = std::min(kTokens, a.columns - t);
      for (int64_t i = begin; i < end; ++i) {
        for (int32_t p = pattern.row_pointers[i]; p < pattern.row_pointers[i + 1]; ++p) {
          samples[p] +=
              kernels<T>().dot(tokens, left + i * a.stride + t, right + pattern.column_indices[p] * b.stride + t);
        }
      }
    }
  });
}

// dvalues[p] += g samples[p]; dgate += g (1 - g) Σ_p values[p] samples[p]
template <class T>
void core_gradient(const sigma_core& core, const T* samples, T* dvalues, T* dgate) {
  const T g = gate_factor<T>(core);
  const int64_t entries = core.pattern->entries;
  if (dvalues != nullptr) {
    for (int64_t p = 0; p < entries; ++p) dvalues[p] += g * samples[p];
  }
  if (dgate != nullptr)
    *dgate += g * (T{1} - g) * kernels<T>().dot(entries, static_cast<const T*>(core.values), samples);
}

// sums[i] += Σ_t a[i, t] b[i, t]
template <class T>
void row_dots(const sigma_matrix& a, const sigma_matrix& b, T* sums) {
  parallel_for(blocks(a.rows, kRows), [&](int64_t task) {
    for (int64_t i = task * kRows; i < std::min((task + 1) * kRows, a.rows); ++i) {
      sums[i] += kernels<T>().dot(a.columns, static_cast<const T*>(a.data) + i * a.stride,
                                  static_cast<const T*>(b.data) + i * b.stride);
    }
  });
}

// sums[j] += Σ_t a[t, j]
template <class T>
void column_sums(const sigma_matrix& a, T* sums) {
  constexpr int64_t kColumns = 512;
  parallel_for(blocks(a.columns, kColumns), [&](int64_t task) {
    const int64_t begin = task * kColumns;
    const int64_t columns = std::min(kColumns, a.columns - begin);
    T block[kColumns] = {};
    for (int64_t t = 0; t < a.rows; ++t) {
      kernels<T>().add(columns, static_cast<const T*>(a.data) + t * a.stride + begin, block);
    }
    kernels<T>().add(columns, block, sums + begin);
  });
}

#define SIGMA_INSTANTIATE(T)                                                                  \
  template void spmm<T>(const sigma_core&, bool, const sigma_matrix&, const sigma_matrix&);   \
  template void sddmm<T>(const sigma_pattern&, const sigma_matrix&, const sigma_matrix&, T*); \
  template void core_gradient<T>(const sigma_core&, const T*, T*, T*);                        \
  template void row_dots<T>(const sigma_matrix&, const sigma_matrix&, T*);                    \
  template void column_sums<T>(const sigma_matrix&, T*);
SIGMA_INSTANTIATE(float)
SIGMA_INSTANTIATE(double)
#undef SIGMA_INSTANTIATE

}  // namespace sigma::cpu
