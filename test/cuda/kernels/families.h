// The families of checks, one function each.
#pragma once

namespace check {

void shim_faults();
void plans();
void products();
void slab_products();
void samples();
void slab_samples();
void core_gradients();
void row_dots();
void column_sums();
void layer_gradients();
void biases();
void casts();
void optimisers();
void norms();
void means();

}  // namespace check
