// Module initialisation: one Environment for each Node environment that loads the addon.
#include <napi.h>

#include <memory>

#include "bind.h"
#include "environment.h"
#include "library.h"

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  try {
    sigma::keep_addon();
    env.SetInstanceData(std::make_unique<sigma::Environment>().release());
    sigma::bind_system(exports);
    sigma::bind_buffers(exports);
    sigma::bind_device(exports);
    sigma::bind_linalg(exports);
    sigma::bind_sparse(exports);
    sigma::bind_adapter(exports);
    sigma::bind_each(exports);
    sigma::bind_optim(exports);
    sigma::bind_mpi(exports);
    sigma::bind_nccl(exports);
    return exports;
  } catch (const Napi::Error&) {
    throw;
  } catch (const std::exception& error) {
    throw Napi::Error::New(env, error.what());
  }
}

}  // namespace

NODE_API_MODULE(sigmatune, init)
