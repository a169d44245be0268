// Aborts if the backend breaks a rule of CUDA. A real device might not report it.
#pragma once

#include <cstdio>
#include <cstdlib>

namespace sigma::simulation {

[[noreturn]] inline void misuse(const char* call, const char* rule) {
  std::fprintf(stderr, "simulated device: %s: %s\n", call, rule);
  std::abort();
}

inline void require(bool kept, const char* call, const char* rule) {
  if (!kept) misuse(call, rule);
}

// A number from the environment. Read at each call, so that a test can change it.
inline long long setting(const char* name, long long otherwise) {
  const char* const value = std::getenv(name);
  return value == nullptr || *value == '\0' ? otherwise : std::atoll(value);
}

}  // namespace sigma::simulation
