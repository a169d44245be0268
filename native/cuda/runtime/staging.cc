#include "cuda/runtime/staging.h"

#include <algorithm>
#include <cstring>

namespace sigma::cuda {
namespace {

constexpr size_t kAlignment = 256;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

}  // namespace

// Space for `bytes` in the current chunk, or in the next.
std::byte* Uploader::room(cudaStream_t stream, size_t bytes) {
  Chunk* chunk = &chunks_[current_];
  if (used_ + bytes > kChunk) {
    check(cudaEventRecord(chunk->read.get(), stream), "upload");
    chunk->pending = true;
    current_ = (current_ + 1) % chunks_.size();
    used_ = 0;
    chunk = &chunks_[current_];
  }
  if (!chunk->read) chunk->read = make_event();
  if (!chunk->memory) chunk->memory = make_pinned(kChunk);
  if (chunk->pending) {
    check(cudaEventSynchronize(chunk->read.get()), "upload");
    chunk->pending = false;
  }
  std::byte* const start = static_cast<std::byte*>(chunk->memory.get()) + used_;
  used_ += aligned(bytes);
  return start;
}

void Uploader::copy(cudaStream_t stream, void* to, const void* from, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    const size_t free = used_ < kChunk ? kChunk - used_ : kChunk;
    const size_t part = std::min(bytes - done, free);
    std::byte* const staged = room(stream, part);
    std::memcpy(staged, static_cast<const std::byte*>(from) + done, part);
    check(cudaMemcpyAsync(static_cast<std::byte*>(to) + done, staged, part, cudaMemcpyHostToDevice, stream), "upload");
    done += part;
  }
}

cudaError_t Downloader::copy(cudaStream_t source, void* to, const void* from, size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (!stream_) stream_ = make_stream();
  if (!ready_) ready_ = make_event();
  cudaError_t error = cudaEventRecord(ready_.get(), source);
  if (error == cudaSuccess) error = cudaStreamWaitEvent(stream_.get(), ready_.get(), 0);
  if (error == cudaSuccess && bytes == 0) return wait_for(stream_.get());

  // Everything that may throw is done before the first copy begins.
  const auto prepare = [](Chunk& chunk) {
    if (!chunk.written) chunk.written = make_event();
    if (!chunk.memory) chunk.memory = make_pinned(kChunk);
  };
  // Double buffering: the device fills one chunk while the host reads the other.
  const size_t parts = (bytes + kChunk - 1) / kChunk;
  const auto length = [&](size_t part) { return std::min(kChunk, bytes - part * kChunk); };
  const auto request = [&](size_t part) {
    const Chunk& chunk = chunks_[part % chunks_.size()];
    error = cudaMemcpyAsync(chunk.memory.get(), static_cast<const std::byte*>(from) + part * kChunk, length(part),
                            cudaMemcpyDeviceToHost, stream_.get());
    if (error == cudaSuccess) error = cudaEventRecord(chunk.written.get(), stream_.get());
  };
  for (size_t part = 0; part < std::min(parts, chunks_.size()); ++part) prepare(chunks_[part]);
  if (error == cudaSuccess) request(0);
  for (size_t part = 0; part < parts && error == cudaSuccess; ++part) {
    if (part + 1 < parts) request(part + 1);
    const Chunk& chunk = chunks_[part % chunks_.size()];
    if (error == cudaSuccess) error = cudaEventSynchronize(chunk.written.get());
    if (error == cudaSuccess)
      std::memcpy(static_cast<std::byte*>(to) + part * kChunk, chunk.memory.get(), length(part));
  }
  return error;
}

}  // namespace sigma::cuda
