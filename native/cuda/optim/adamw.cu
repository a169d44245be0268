#include <algorithm>
#include <cmath>
#include <limits>

#include "cuda/ops.h"
#include "cuda/optim/steps.h"

namespace sigma::cuda {
namespace {

struct AdamWRule {
  template <class T>
  static AdamW<T> constants(const sigma_adamw& o) {
    const auto step = static_cast<double>(o.step);
    AdamW<T> c = {};
    c.keep = static_cast<T>(1 - o.lr * o.weight_decay);
    c.rate = static_cast<T>(o.lr / (1 - std::pow(o.beta1, step)));
    c.beta1 = static_cast<T>(o.beta1);
    c.take1 = static_cast<T>(1 - o.beta1);
    c.beta2 = static_cast<T>(o.beta2);
    c.take2 = static_cast<T>(1 - o.beta2);
    c.corrected = static_cast<T>(1 / std::sqrt(1 - std::pow(o.beta2, step)));
    c.eps = static_cast<T>(std::max(o.eps, static_cast<double>(std::numeric_limits<T>::min())));
    return c;
  }

  template <class T>
  static StepTensor<T> tensor_of(const sigma_adamw& call) {
    return {static_cast<T*>(call.parameter),
            static_cast<const T*>(call.gradient),
            static_cast<T*>(call.m),
            static_cast<T*>(call.v),
            call.count,
            0,
            false};
  }

  template <class T, int most>
  static auto kernel() {
    return &adamw_kernel<T, most>;
  }
};

}  // namespace

void adamw_each(sigma_context& context, const sigma_adamw* calls, int64_t count) {
  step_each<AdamWRule>(context, "adamw", calls, count);
}

void adamw(sigma_context& context, const sigma_adamw& call) { adamw_each(context, &call, 1); }

}  // namespace sigma::cuda
