// Module init: one Environment for each Node environment that loads the addon.
#include <napi.h>

#include <memory>

#include "bind.h"
#include "environment.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  auto environment = std::make_unique<sigma::Environment>();
  environment->backend = sigma_cpu_backend();
  if (environment->backend->create_context(&environment->context) != SIGMA_OK) {
    throw Napi::Error::New(env, environment->backend->last_error());
  }
  env.SetInstanceData(environment.release());
  sigma::bind_system(exports);
  sigma::bind_linalg(exports);
  sigma::bind_sparse(exports);
  sigma::bind_adapter(exports);
  sigma::bind_optim(exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(sigmatune, init)
