#include "cpu/ops.h"
#include "cpu/optim/blocks.h"
#include "cpu/runtime/dispatch.h"
#include "cpu/runtime/simd.h"

namespace sigma::cpu {

void sgd(const sigma_sgd& call) {
  for_real(call.real, [&]<class T>() {
    auto* const momentum = static_cast<T*>(call.momentum_buffer);
    for_each_block(call.count, [&](int64_t begin, int64_t size) {
      kernels<T>().sgd(size, &call, static_cast<T*>(call.parameter) + begin,
                       static_cast<const T*>(call.gradient) + begin, momentum != nullptr ? momentum + begin : nullptr);
    });
  });
}

}  // namespace sigma::cpu
