// Problems of one shape along a chain of routes.
#pragma once

#include <exception>
#include <vector>

#include "cuda/svd/routes.h"
#include "recipes/svd.h"

namespace sigma::cuda {

template <class T>
using SvdChain = std::vector<SvdRoute<T>>;

// The routines for a shape, in the order in which they are worth trying on the device.
template <class T>
std::vector<SvdRoutine<SvdRoute<T>>> svd_routines(const Device& device, const SvdShape& shape);

// How many problems of this shape the first route takes at once.
template <class T>
int64_t svd_batch_limit(const SvdChain<T>& chain, const SvdShape& shape);

// Solves problems of one shape, none of them zero or with a number that is not finite. One error a problem, null where
// it is solved; a failure of the device is thrown.
template <class T>
std::vector<std::exception_ptr> svd_solve(const SvdLane& lane, const SvdChain<T>& chain, const SvdShape& shape,
                                          const std::vector<SvdItem>& items);

}  // namespace sigma::cuda
