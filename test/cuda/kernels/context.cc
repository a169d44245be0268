// Fakes of the backend and runtime functions that the launchers need: no stream, and host memory of exactly the
// requested size, filled with NaN.
#include "cuda/runtime/context.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <vector>

#include "cuda/svd/lane.h"
#include "harness.h"
#include "simulate.h"

struct sigma_context::State {
  sigma::cuda::Device device;
  std::unique_ptr<unsigned char[]> scratch;
  std::vector<unsigned> tickets;
};

sigma_context::sigma_context(int) : state_(std::make_unique<State>()) {}
sigma_context::~sigma_context() { static_cast<void>(tickets(0)); }

const sigma::cuda::Device& sigma_context::device() const { return check::device(); }
cudaStream_t sigma_context::stream() const { return nullptr; }
void sigma_context::activate() const {}
void* sigma_context::reserve(size_t) { return nullptr; }
void* sigma_context::scratch(size_t bytes) {
  state_->scratch = std::make_unique<unsigned char[]>(bytes);
  std::memset(state_->scratch.get(), 0xFF, bytes);
  return state_->scratch.get();
}
void sigma_context::download(void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }
unsigned* sigma_context::tickets(int64_t count) {
  const bool clean = std::all_of(state_->tickets.begin(), state_->tickets.end(), [](unsigned n) { return n == 0; });
  check::expect(clean, "an operation leaves its counters at 0");
  state_->tickets.assign(static_cast<size_t>(count), 0);
  return state_->tickets.data();
}
void sigma_context::queued(const char*) {}

namespace sigma::cuda {

void check(cudaError_t error, const char* what) {
  if (error != cudaSuccess) throw Failure(SIGMA_NATIVE, what);
}
void* allocate(const Device&, cudaStream_t, size_t bytes) {
  void* const memory = ::operator new(bytes);
  std::memset(memory, 0xFF, bytes);
  return memory;
}
void release(const Device&, cudaStream_t, void* memory) noexcept { ::operator delete(memory); }
void SvdLane::upload(void* to, const void* from, size_t bytes) const { std::memcpy(to, from, bytes); }
void SvdLane::download(void* to, const void* from, size_t bytes) const { std::memcpy(to, from, bytes); }
void enqueue_kernel(cudaStream_t, const void*, size_t, std::function<void()> work) { work(); }

}  // namespace sigma::cuda

extern "C" cudaError_t cudaMemsetAsync(void* memory, int value, size_t count, cudaStream_t) {
  std::memset(memory, value, count);
  return cudaSuccess;
}

extern "C" cudaError_t cudaFuncSetAttribute(const void*, cudaFuncAttribute, int) { return cudaSuccess; }

namespace check {

sigma::cuda::Device& device() {
  static sigma::cuda::Device device;
  return device;
}

}  // namespace check
