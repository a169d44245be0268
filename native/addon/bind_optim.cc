// Optimiser steps, in place.
#include "args.h"
#include "bind.h"

namespace sigma {
namespace {

// adamw(parameter, gradient, m, v, lr, beta1, beta2, eps, weightDecay, step)
Napi::Value adamw(Args& args) {
  const View parameter = args.any_matrix(0, "parameter");
  const void* const gradient = args.matrix(1, "gradient", parameter.length);
  void* const m = args.matrix(2, "m", parameter.length);
  void* const v = args.matrix(3, "v", parameter.length);
  const sigma_adamw options{args.number(4, "lr"),  args.number(5, "beta1"),       args.number(6, "beta2"),
                            args.number(7, "eps"), args.number(8, "weightDecay"), args.integer(9, "step", 1)};
  const Engine e = args.engine();
  e.call(e.backend->adamw, &options, parameter.length, parameter.data, gradient, m, v);
  return args.env().Undefined();
}

// sgd(parameter, gradient, momentumBuffer | null, lr, momentum, weightDecay, first)
Napi::Value sgd(Args& args) {
  const View parameter = args.any_matrix(0, "parameter");
  const void* const gradient = args.matrix(1, "gradient", parameter.length);
  void* const momentum_buffer = args.optional_matrix(2, "momentumBuffer", parameter.length);
  const sigma_sgd options{args.number(3, "lr"), args.number(4, "momentum"), args.number(5, "weightDecay"),
                          args.flag(6) ? 1 : 0};
  const Engine e = args.engine();
  e.call(e.backend->sgd, &options, parameter.length, parameter.data, gradient, momentum_buffer);
  return args.env().Undefined();
}

}  // namespace

void bind_optim(Napi::Object exports) {
  export_function<adamw>(exports, "adamw");
  export_function<sgd>(exports, "sgd");
}

}  // namespace sigma
