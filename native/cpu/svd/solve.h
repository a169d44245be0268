// Solves one problem by a chain of routes.
#pragma once

#include "cpu/svd/probe.h"
#include "cpu/svd/routes.h"

namespace sigma::cpu {

// Throws if no answer is accepted.
template <class T>
void svd_solve(const std::vector<SvdRoute<T>>& chain, const SvdProblem<T>& p) {
  const auto attempt = [&](SvdRoute<T> route, const std::vector<size_t>&) {
    return std::vector{route(p) ? std::optional(svd_measures(p)) : std::nullopt};
  };
  const std::exception_ptr error = svd_search<T>(p.m, p.n, 1, chain, attempt).front();
  if (error) std::rethrow_exception(error);
}

}  // namespace sigma::cpu
