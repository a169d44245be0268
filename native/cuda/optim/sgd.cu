#include "cuda/ops.h"
#include "cuda/optim/steps.h"

namespace sigma::cuda {
namespace {

struct SgdRule {
  template <class T>
  static Sgd<T> constants(const sigma_sgd& o) {
    return {static_cast<T>(o.lr), static_cast<T>(o.weight_decay), static_cast<T>(o.momentum),
            static_cast<T>(o.first != 0 ? 1 : 0)};
  }

  template <class T>
  static StepTensor<T> tensor_of(const sigma_sgd& call) {
    return {static_cast<T*>(call.parameter),
            static_cast<const T*>(call.gradient),
            static_cast<T*>(call.momentum_buffer),
            nullptr,
            call.count,
            0,
            false};
  }

  template <class T, int most>
  static auto kernel() {
    return &sgd_kernel<T, most>;
  }
};

}  // namespace

void sgd_each(sigma_context& context, const sigma_sgd* calls, int64_t count) {
  step_each<SgdRule>(context, "sgd", calls, count);
}

void sgd(sigma_context& context, const sigma_sgd& call) { sgd_each(context, &call, 1); }

}  // namespace sigma::cuda
