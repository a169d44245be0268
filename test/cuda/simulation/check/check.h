// Shared by the checks of the simulated backend: the open table, device memory, and the report of failures.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "../counts.h"
#include "contract/engine.h"

namespace sigma::check {

inline const sigma_backend* backend = nullptr;
// What the backend asked of the device so far.
inline const simulation::Counts* (*counts)() = nullptr;
inline int failures = 0;

inline void expect(bool kept, const std::string& what) {
  if (kept) return;
  ++failures;
  std::printf("FAILED: %s\n", what.c_str());
}

inline void expect_ok(sigma_status status, const std::string& what) {
  expect(status == SIGMA_OK, what + ": " + (status == SIGMA_OK ? "" : backend->last_error()));
}

inline void expect_failure(sigma_status status, sigma_status wanted, const std::string& text, const std::string& what) {
  const std::string told = status == SIGMA_OK ? "" : backend->last_error();
  expect(status == wanted && told.find(text) != std::string::npos,
         what + ": status " + std::to_string(status) + ", '" + told + "'");
}

// RAII: sets an environment variable during a scope.
class Setting {
 public:
  Setting(const char* name, const std::string& value) : name_(name) { setenv(name, value.c_str(), 1); }
  ~Setting() { unsetenv(name_); }
  Setting(const Setting&) = delete;
  Setting& operator=(const Setting&) = delete;

 private:
  const char* name_;
};

// Runs one operation and returns its status.
template <class Call>
sigma_status run(sigma_context* context, sigma_status (*entry)(sigma_context*, const Call*), const Call& call) {
  return entry(context, &call);
}

class Context {
 public:
  explicit Context(int32_t device = 0) { expect_ok(backend->create_context(device, &context_), "create_context"); }
  ~Context() { backend->destroy_context(context_); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  operator sigma_context*() const { return context_; }  // NOLINT: passed to the table

 private:
  sigma_context* context_ = nullptr;
};

// RAII: device memory.
class DeviceBuffer {
 public:
  DeviceBuffer(sigma_context* context, size_t bytes) : context_(context) {
    expect_ok(backend->allocate(context, bytes, &data_), "allocate");
  }
  template <class T>
  DeviceBuffer(sigma_context* context, const std::vector<T>& values)
      : DeviceBuffer(context, values.size() * sizeof(T)) {
    expect_ok(backend->upload(context, data_, values.data(), values.size() * sizeof(T)), "upload");
  }
  ~DeviceBuffer() {
    if (context_ != nullptr) backend->release(context_, data_);
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept : context_(other.context_), data_(other.data_) {
    other.context_ = nullptr;
  }
  DeviceBuffer& operator=(DeviceBuffer&&) = delete;
  void* data() const { return data_; }
  template <class T>
  std::vector<T> values(size_t count) const {
    std::vector<T> host(count);
    expect_ok(backend->download(context_, host.data(), data_, count * sizeof(T)), "download");
    return host;
  }

 private:
  sigma_context* context_;
  void* data_ = nullptr;
};

inline std::vector<double> gaussian(size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  std::vector<double> numbers(count);
  for (double& x : numbers) x = normal(generator);
  return numbers;
}

void check_gemm();
void check_memory();
void check_failures();
void check_svd();
void check_threads();
void check_waits();
void check_libraries();
void check_ranks(const char* program, const char* library);
// A rank of check_ranks, in a process of its own.
void run_rank(const char* rank, const char* id);

}  // namespace sigma::check
