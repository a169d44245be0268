// Optimiser steps on many parameters, in place. Each list has a fixed number of values for each parameter.
#include <string>
#include <vector>

#include "args.h"
#include "bind.h"

namespace sigma {
namespace {

// The operands and the settings of one call.
class Steps {
 public:
  Steps(Args& args, uint32_t operands, uint32_t settings) : args_(args), operands_(operands), settings_(settings) {
    if (!args.value(0).IsArray()) throw ArgumentError("tensors: expected an array");
    tensors_ = args.value(0).As<Napi::Array>();
    count_ = tensors_.Length() / operands;
    const View given = args.view(1, "settings");
    const bool fits = tensors_.Length() == count_ * operands && given.dtype == SIGMA_FLOAT64 &&
                      given.block == nullptr && given.length == static_cast<int64_t>(count_) * settings;
    if (!fits) throw ArgumentError("settings: expected " + std::to_string(settings) + " numbers for each parameter");
    numbers_ = static_cast<const double*>(given.data);
  }

  uint32_t count() const { return count_; }
  // The parameter itself is operand 0.
  View parameter(uint32_t step) const { return args_.operands().vector(value(step, 0), "parameter"); }
  void* operand(uint32_t step, uint32_t index, const char* name, int64_t length) const {
    return args_.operands().vector(value(step, index), name, length);
  }
  void* optional_operand(uint32_t step, uint32_t index, const char* name, int64_t length) const {
    return is_absent(args_.env(), value(step, index)) ? nullptr : operand(step, index, name, length);
  }
  double setting(uint32_t step, uint32_t index) const { return numbers_[step * settings_ + index]; }

 private:
  Napi::Value value(uint32_t step, uint32_t index) const { return tensors_[step * operands_ + index]; }

  Args& args_;
  uint32_t operands_, settings_, count_ = 0;
  Napi::Array tensors_;
  const double* numbers_ = nullptr;
};

// A device runs all of them together. The CPU runs each on all threads.
template <class Call>
void run(Args& args, sigma_operation operation, sigma_status (*sigma_backend::*entry)(sigma_context*, const Call*),
         const std::vector<Call>& calls) {
  const Engine e = args.engine();
  if (args.operands().place()->has_memory()) return e.run_each(operation, calls);
  for (const Call& call : calls) e.run(entry, call);
}

// adamw(tensors: parameter, gradient, m, v; settings: lr, beta1, beta2, eps, weightDecay, step)
Napi::Value adamw(Args& args) {
  const Steps steps(args, 4, 6);
  std::vector<sigma_adamw> calls;
  calls.reserve(steps.count());
  for (uint32_t i = 0; i < steps.count(); ++i) {
    const View parameter = steps.parameter(i);
    const double step = steps.setting(i, 5);
    if (!(step >= 1 && step <= 0x1p53)) throw ArgumentError("step: expected at least 1 and at most 2^53");
    calls.push_back({.real = args.real(),
                     .lr = steps.setting(i, 0),
                     .beta1 = steps.setting(i, 1),
                     .beta2 = steps.setting(i, 2),
                     .eps = steps.setting(i, 3),
                     .weight_decay = steps.setting(i, 4),
                     .step = static_cast<int64_t>(step),
                     .count = parameter.length,
                     .parameter = parameter.data,
                     .gradient = steps.operand(i, 1, "gradient", parameter.length),
                     .m = steps.operand(i, 2, "m", parameter.length),
                     .v = steps.operand(i, 3, "v", parameter.length)});
  }
  run(args, SIGMA_OPERATION_adamw, &sigma_backend::adamw, calls);
  return args.env().Undefined();
}

// sgd(tensors: parameter, gradient, momentumBuffer | null; settings: lr, momentum, weightDecay, first)
Napi::Value sgd(Args& args) {
  const Steps steps(args, 3, 4);
  std::vector<sigma_sgd> calls;
  calls.reserve(steps.count());
  for (uint32_t i = 0; i < steps.count(); ++i) {
    const View parameter = steps.parameter(i);
    calls.push_back({.real = args.real(),
                     .lr = steps.setting(i, 0),
                     .momentum = steps.setting(i, 1),
                     .weight_decay = steps.setting(i, 2),
                     .first = steps.setting(i, 3) != 0 ? 1 : 0,
                     .count = parameter.length,
                     .parameter = parameter.data,
                     .gradient = steps.operand(i, 1, "gradient", parameter.length),
                     .momentum_buffer = steps.optional_operand(i, 2, "momentumBuffer", parameter.length)});
  }
  run(args, SIGMA_OPERATION_sgd, &sigma_backend::sgd, calls);
  return args.env().Undefined();
}

}  // namespace

void bind_optim(Napi::Object exports) {
  export_function<adamw>(exports, "adamw");
  export_function<sgd>(exports, "sgd");
}

}  // namespace sigma
