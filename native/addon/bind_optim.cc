// Optimiser steps, in place.
#include "args.h"
#include "bind.h"

namespace sigma {
namespace {

// adamw(parameter, gradient, m, v, lr, beta1, beta2, eps, weightDecay, step)
Napi::Value adamw(Args& args) {
  const int64_t count = args.any(0, "parameter").length;
  args.engine().run(&sigma_backend::adamw, sigma_adamw{.real = args.real(),
                                                       .lr = args.number(4, "lr"),
                                                       .beta1 = args.number(5, "beta1"),
                                                       .beta2 = args.number(6, "beta2"),
                                                       .eps = args.number(7, "eps"),
                                                       .weight_decay = args.number(8, "weightDecay"),
                                                       .step = args.integer(9, "step", 1),
                                                       .count = count,
                                                       .parameter = args.vector(0, "parameter", count),
                                                       .gradient = args.vector(1, "gradient", count),
                                                       .m = args.vector(2, "m", count),
                                                       .v = args.vector(3, "v", count)});
  return args.env().Undefined();
}

// sgd(parameter, gradient, momentumBuffer | null, lr, momentum, weightDecay, first)
Napi::Value sgd(Args& args) {
  const int64_t count = args.any(0, "parameter").length;
  args.engine().run(&sigma_backend::sgd,
                    sigma_sgd{.real = args.real(),
                              .lr = args.number(3, "lr"),
                              .momentum = args.number(4, "momentum"),
                              .weight_decay = args.number(5, "weightDecay"),
                              .first = args.flag(6) ? 1 : 0,
                              .count = count,
                              .parameter = args.vector(0, "parameter", count),
                              .gradient = args.vector(1, "gradient", count),
                              .momentum_buffer = args.optional_vector(2, "momentumBuffer", count)});
  return args.env().Undefined();
}

}  // namespace

void bind_optim(Napi::Object exports) {
  export_function<adamw>(exports, "adamw");
  export_function<sgd>(exports, "sgd");
}

}  // namespace sigma
