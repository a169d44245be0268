// A lane runs SVDs independently of the context: a stream and the library handles bound to it.
#pragma once

#include <memory>
#include <vector>

#include "cuda/runtime/handles.h"
#include "cuda/runtime/libraries.h"
#include "cuda/runtime/memory.h"

namespace sigma::cuda {

class SvdLane {
 public:
  explicit SvdLane(const Device& device);

  const Device& device() const { return device_; }
  cudaStream_t stream() const { return stream_.get(); }
  cusolverDnHandle_t solver() const { return solver_.get(); }
  cusolverDnParams_t params() const { return params_.get(); }
  gesvdjInfo_t jacobi() const { return jacobi_.get(); }
  cublasHandle_t blas() const { return blas_.get(); }

  Memory memory(size_t bytes) const { return Memory(device_, stream(), bytes); }
  // Zeroed, because some versions of cuSOLVER rely on that.
  Memory workspace(size_t bytes) const;
  void upload(void* to, const void* from, size_t bytes) const;
  // Waits for the copy.
  void download(void* to, const void* from, size_t bytes) const;
  void wait() const;

 private:
  Device device_;
  Stream stream_;
  SolverHandle solver_;
  SolverParams params_;
  JacobiParams jacobi_;
  BlasHandle blas_;
};

// An array in device memory.
template <class T>
class SvdNumbers {
 public:
  SvdNumbers(const SvdLane& lane, int64_t count)
      : lane_(&lane), count_(static_cast<size_t>(count)), memory_(lane.memory(count_ * sizeof(T))) {}
  SvdNumbers(const SvdLane& lane, const std::vector<T>& values)
      : SvdNumbers(lane, static_cast<int64_t>(values.size())) {
    lane.upload(data(), values.data(), count_ * sizeof(T));
  }
  T* data() const { return static_cast<T*>(memory_.data()); }
  void zero() const { check(cudaMemsetAsync(data(), 0, count_ * sizeof(T), lane_->stream()), "svd"); }
  std::vector<T> read() const {
    std::vector<T> values(count_);
    lane_->download(values.data(), data(), count_ * sizeof(T));
    return values;
  }
  void free() { memory_.free(); }

 private:
  const SvdLane* lane_;
  size_t count_;
  Memory memory_;
};

// The lanes of one svd call. The destructor waits for their work and returns them to the idle lanes.
class SvdLanes {
 public:
  explicit SvdLanes(const Device& device) : device_(device) {}
  ~SvdLanes();
  SvdLanes(const SvdLanes&) = delete;
  SvdLanes& operator=(const SvdLanes&) = delete;
  // Takes lanes until there are `wanted`. Stops early if the device has no memory; throws if there is not even one.
  void grow(size_t wanted);
  size_t size() const { return lanes_.size(); }
  const SvdLane& operator[](size_t index) const { return *lanes_[index]; }

 private:
  const Device& device_;
  std::vector<std::unique_ptr<SvdLane>> lanes_;
};

}  // namespace sigma::cuda
