// The largest singular triples, at a cost in proportion to their number.
#pragma once

#include "cpu/svd/problem.h"

namespace sigma::cpu {

// Fills the p.k largest triples of A, of which svd_is_partial holds. Returns false, and leaves anything in their
// memory, unless they pass the accuracy check and no singular value beyond them is larger than the last one, to the
// limits. The same bits for any number of threads.
template <class T>
bool svd_partial(const SvdProblem<T>& p);

}  // namespace sigma::cpu
