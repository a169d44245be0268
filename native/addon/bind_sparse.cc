// Sparsity patterns and their two products.
#include "args.h"
#include "bind.h"
#include "pattern.h"

namespace sigma {
namespace {

// pattern(rowPointers, columnIndices): a handle
Napi::Value pattern(Args& args) {
  const Int32View rows = int32_view(args.value(0), "rowPointers");
  const Int32View columns = int32_view(args.value(1), "columnIndices");
  if (rows.length < 2) throw ArgumentError("rowPointers: expected at least two numbers");
  return make_pattern(args.env(), args.environment(), rows.data, rows.length - 1, columns.data, columns.length);
}

// spmm(pattern, values, dense, out, tokens, transpose): out (r, N) = M dense, or Mᵀ dense
Napi::Value spmm(Args& args) {
  const sigma_pattern& structure = args.pattern(0, "pattern");
  const int64_t tokens = args.integer(4, "tokens", 1);
  const sigma_matrix dense = args.matrix(2, "dense", structure.size, tokens);
  const sigma_matrix out = args.matrix(3, "out", structure.size, tokens);
  sigma_core core{};
  core.size = structure.size;
  core.pattern = &args.placed_pattern(0, "pattern");
  core.values = args.vector(1, "values", structure.entries);
  args.engine().run(&sigma_backend::spmm, sigma_spmm{args.real(), args.flag(5), &core, dense, out});
  return args.env().Undefined();
}

// sddmm(pattern, a, b, out, tokens): out[p] = Σ_t a[i_p, t] b[j_p, t]
Napi::Value sddmm(Args& args) {
  const sigma_pattern& structure = args.pattern(0, "pattern");
  const int64_t tokens = args.integer(4, "tokens", 1);
  const sigma_matrix a = args.matrix(1, "a", structure.size, tokens);
  const sigma_matrix b = args.matrix(2, "b", structure.size, tokens);
  void* const out = args.vector(3, "out", structure.entries);
  const sigma_pattern& here = args.placed_pattern(0, "pattern");
  args.engine().run(&sigma_backend::sddmm, sigma_sddmm{args.real(), &here, a, b, out});
  return args.env().Undefined();
}

}  // namespace

void bind_sparse(Napi::Object exports) {
  export_function<pattern>(exports, "pattern");
  export_function<spmm>(exports, "spmm");
  export_function<sddmm>(exports, "sddmm");
}

}  // namespace sigma
