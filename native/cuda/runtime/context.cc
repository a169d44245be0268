#include "cuda/runtime/context.h"

#include <algorithm>

#include "cuda/runtime/context_state.h"
#include "cuda/runtime/driver.h"

namespace sigma::cuda {
void QueuedNames::add(const char* operation) {
  const std::lock_guard lock(mutex_);
  ++count_;
  for (Name& name : names_) {
    if (name.operation != operation) continue;
    name.last = count_;
    return;
  }
  names_.push_back({operation, count_});
}

uint64_t QueuedNames::mark() const {
  const std::lock_guard lock(mutex_);
  return count_;
}

std::string QueuedNames::take(uint64_t mark) {
  const std::lock_guard lock(mutex_);
  std::sort(names_.begin(), names_.end(), [](const Name& a, const Name& b) { return a.last < b.last; });
  std::string text;
  auto name = names_.begin();
  for (; name != names_.end() && name->last <= mark; ++name) {
    text += text.empty() ? "" : ", ";
    text += name->operation;
  }
  names_.erase(names_.begin(), name);
  return text;
}

}  // namespace sigma::cuda

using namespace sigma::cuda;

namespace {

Stream make_stream_on(int device) {
  check(cudaSetDevice(device), "the device");
  return make_stream();
}

// Throws a plain Failure, not a CudaFailure, so that `explain` does not add names twice.
[[noreturn]] void tell(cudaError_t error, const std::string& names) {
  const std::string where = names.empty() ? "" : ", in work queued since the last wait: " + names;
  throw sigma::Failure(SIGMA_NATIVE, described(error) + where);
}

// Ends a wait for the work up to `mark`.
void settle(sigma_context::State& state, cudaError_t error, uint64_t mark) {
  const std::string names = state.names.take(mark);
  if (error == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());
  tell(error, names);
}

}  // namespace

sigma_context::State::State(int device_index)
    : device(describe_device(device_index)), stream(make_stream_on(device.index)), blocks(device, stream.get()) {}

sigma_context::State::~State() {
  // Work must finish before memory and handles are freed. No one is left to receive errors.
  static_cast<void>(cudaSetDevice(device.index));
  static_cast<void>(wait_for(stream.get()));
}

sigma_context::sigma_context(int device) : state_(std::make_unique<State>(device)) {}

sigma_context::~sigma_context() = default;

const Device& sigma_context::device() const { return state_->device; }

cudaStream_t sigma_context::stream() const { return state_->stream.get(); }

void sigma_context::activate() const { check(cudaSetDevice(device().index), "the device"); }

void* sigma_context::reserve(size_t bytes) { return state_->reserved.at_least(device(), stream(), bytes); }

void* sigma_context::scratch(size_t bytes) { return state_->scratch.at_least(device(), stream(), bytes); }

unsigned* sigma_context::tickets(int64_t count) {
  constexpr size_t kStep = 4096;
  const size_t bytes = (static_cast<size_t>(count) * sizeof(unsigned) + kStep - 1) / kStep * kStep;
  if (bytes > state_->ticket_bytes) {
    state_->ticket_bytes = 0;
    void* const memory = state_->tickets.at_least(device(), stream(), bytes);
    check(cudaMemsetAsync(memory, 0, bytes, stream()), "counters");
    state_->ticket_bytes = bytes;
  }
  return static_cast<unsigned*>(state_->tickets.at_least(device(), stream(), bytes));
}

size_t sigma_context::kept_bytes() const {
  return state_->reserved.bytes() + state_->scratch.bytes() + state_->tickets.bytes() + state_->blocks.unused_bytes();
}

void sigma_context::trim() noexcept {
  state_->reserved.free();
  state_->scratch.free();
  state_->tickets.free();
  state_->ticket_bytes = 0;
  state_->blocks.flush();
  trim_pool(device());
}

void sigma_context::queued(const char* operation) { state_->names.add(operation); }

void sigma_context::upload(void* to, const void* from, size_t bytes) {
  queued("upload");
  state_->uploader.copy(stream(), to, from, bytes);
}

void sigma_context::download(void* to, const void* from, size_t bytes) {
  const uint64_t mark = state_->names.mark();
  settle(*state_, state_->downloader.copy(stream(), to, from, bytes), mark);
}

void sigma_context::synchronize() {
  const uint64_t mark = state_->names.mark();
  settle(*state_, wait_for(stream()), mark);
}

void sigma_context::explain(const CudaFailure& failure) {
  const std::string names = state_->names.take(state_->names.mark());
  if (names.empty()) throw failure;
  tell(failure.error(), names);
}
