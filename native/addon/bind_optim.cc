// Optimiser steps, in place.
#include "args.h"
#include "bind.h"

namespace sigma {
namespace {

// adamw(parameter, gradient, m, v, lr, beta1, beta2, eps, weightDecay, step)
Napi::Value adamw(Args& args) {
  const View parameter = args.vector(0, "parameter");
  args.engine().run(&sigma_backend::adamw, sigma_adamw{.real = args.real(),
                                                       .lr = args.number(4, "lr"),
                                                       .beta1 = args.number(5, "beta1"),
                                                       .beta2 = args.number(6, "beta2"),
                                                       .eps = args.number(7, "eps"),
                                                       .weight_decay = args.number(8, "weightDecay"),
                                                       .step = args.integer(9, "step", 1),
                                                       .count = parameter.length,
                                                       .parameter = parameter.data,
                                                       .gradient = args.vector(1, "gradient", parameter.length),
                                                       .m = args.vector(2, "m", parameter.length),
                                                       .v = args.vector(3, "v", parameter.length)});
  return args.env().Undefined();
}

// sgd(parameter, gradient, momentumBuffer | null, lr, momentum, weightDecay, first)
Napi::Value sgd(Args& args) {
  const View parameter = args.vector(0, "parameter");
  args.engine().run(&sigma_backend::sgd,
                    sigma_sgd{.real = args.real(),
                              .lr = args.number(3, "lr"),
                              .momentum = args.number(4, "momentum"),
                              .weight_decay = args.number(5, "weightDecay"),
                              .first = args.flag(6) ? 1 : 0,
                              .count = parameter.length,
                              .parameter = parameter.data,
                              .gradient = args.vector(1, "gradient", parameter.length),
                              .momentum_buffer = args.optional_vector(2, "momentumBuffer", parameter.length)});
  return args.env().Undefined();
}

}  // namespace

void bind_optim(Napi::Object exports) {
  export_function<adamw>(exports, "adamw");
  export_function<sgd>(exports, "sgd");
}

}  // namespace sigma
