#include "cpu/ops.h"
#include "cpu/optim/blocks.h"
#include "cpu/runtime/dispatch.h"
#include "cpu/runtime/simd.h"

namespace sigma::cpu {

void adamw(const sigma_adamw& call) {
  for_real(call.real, [&]<class T>() {
    for_each_block(call.count, [&](int64_t begin, int64_t size) {
      kernels<T>().adamw(size, &call, static_cast<T*>(call.parameter) + begin,
                         static_cast<const T*>(call.gradient) + begin, static_cast<T*>(call.m) + begin,
                         static_cast<T*>(call.v) + begin);
    });
  });
}

}  // namespace sigma::cpu
