// Solves problems of one shape by a chain of routes.
#pragma once

#include <exception>
#include <vector>

#include "cuda/svd/routes.h"
#include "recipes/svd.h"

namespace sigma::cuda {

template <class T>
using SvdChain = std::vector<SvdRoute<T>>;

// The routines for a shape, best for the device first.
template <class T>
std::vector<SvdRoutine<SvdRoute<T>>> svd_routines(const Device& device, const SvdShape& shape);

// How many problems of this shape the first route takes in one batch.
template <class T>
int64_t svd_batch_limit(const SvdChain<T>& chain, const SvdShape& shape);

// Solves finite, non-zero problems of one shape. One error per problem, null if solved. Throws if the device fails.
template <class T>
std::vector<std::exception_ptr> svd_solve(const SvdLane& lane, const SvdChain<T>& chain, const SvdShape& shape,
                                          const std::vector<SvdItem>& items);

}  // namespace sigma::cuda
