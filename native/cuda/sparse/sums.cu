#include "cuda/ops.h"
#include "cuda/sparse/sums.h"

namespace sigma::cuda {

void row_dots(sigma_context& context, const sigma_row_dots& call) {
  for_types(call.real, {call.a.dtype, call.b.dtype}, [&]<class T>(std::type_identity<T>) {
    Sums<T> p = {};
    p.rows = row_dots_of<T>(call.a, call.b);
    add_diagonal(p.rows, call);
    launch_sums(context, "row_dots", p);
  });
}

void column_sums(sigma_context& context, const sigma_column_sums& call) {
  for_types(call.real, {call.a.dtype}, [&]<class T>(std::type_identity<T>) {
    Sums<T> p = {};
    p.columns = column_sums_of<T>(call);
    launch_sums(context, "column_sums", p);
  });
}

}  // namespace sigma::cuda
