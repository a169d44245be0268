// Threads and versions.
#include "args.h"
#include "bind.h"

namespace sigma {
namespace {

// setThreads(count)
Napi::Value set_threads(Args& args) {
  const int64_t count = args.integer(0, "count", 1);
  constexpr int64_t kMost = 1024;
  if (count > kMost) throw ArgumentError("count: expected at most 1024, got " + std::to_string(count));
  args.engine().check(args.cpu().set_threads(static_cast<int32_t>(count)));
  return args.env().Undefined();
}

// threads(): number
Napi::Value threads(Args& args) { return Napi::Number::New(args.env(), args.cpu().threads()); }

// nativeInfo(): { backend, abi, blas, simd }
Napi::Value native_info(Args& args) {
  const sigma_backend& backend = args.cpu();
  const Napi::Object info = Napi::Object::New(args.env());
  info.Set("backend", backend.name);
  info.Set("abi", backend.abi_version);
  info.Set("blas", backend.blas());
  info.Set("simd", backend.simd());
  return info;
}

}  // namespace

void bind_system(Napi::Object exports) {
  export_function<set_threads>(exports, "setThreads");
  export_function<threads>(exports, "threads");
  export_function<native_info>(exports, "nativeInfo");
}

}  // namespace sigma
