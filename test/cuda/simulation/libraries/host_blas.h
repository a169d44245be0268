// OpenBLAS's build without threads serves one thread at a time, and the backend's lanes call it at once.
#pragma once

#include <mutex>

namespace sigma::simulation {

// One lock for all stand-ins: a visible static of an inline function is one in a process.
[[gnu::visibility("default")]] inline std::mutex& host_blas_mutex() {
  static std::mutex mutex;
  return mutex;
}

// Holds OpenBLAS for as long as it lives.
class HostBlas {
 public:
  HostBlas() : lock_(host_blas_mutex()) {}

 private:
  std::lock_guard<std::mutex> lock_;
};

}  // namespace sigma::simulation
