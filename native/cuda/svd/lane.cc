#include "cuda/svd/lane.h"

#include <map>
#include <mutex>

namespace sigma::cuda {
namespace {

// Idle lanes by device. Kept until the process ends, because creating a handle takes milliseconds.
struct IdleLanes {
  std::mutex mutex;
  std::map<int, std::vector<std::unique_ptr<SvdLane>>> lanes;
};

IdleLanes& idle() {
  static IdleLanes& all = *new IdleLanes;
  return all;
}

std::unique_ptr<SvdLane> take_idle(int device) {
  const std::lock_guard lock(idle().mutex);
  auto& lanes = idle().lanes[device];
  if (lanes.empty()) return nullptr;
  std::unique_ptr<SvdLane> lane = std::move(lanes.back());
  lanes.pop_back();
  return lane;
}

}  // namespace

SvdLane::SvdLane(const Device& device) : device_(device), stream_(make_stream()) {
  const Libraries& l = libraries();
  solver_ = create_handle_on<SolverHandle>(device, "svd", l.cusolverDnCreate);
  params_ = create_handle<SolverParams>("svd", l.cusolverDnCreateParams);
  jacobi_ = create_handle<JacobiParams>("svd", l.cusolverDnCreateGesvdjInfo);
  blas_ = create_handle_on<BlasHandle>(device, "svd", l.cublasCreate_v2);
  check(l.cusolverDnSetStream(solver(), stream()), "svd");
  check(l.cublasSetStream_v2(blas(), stream()), "svd");
}

Memory SvdLane::workspace(size_t bytes) const {
  Memory zeroed = memory(bytes);
  check(cudaMemsetAsync(zeroed.data(), 0, bytes, stream()), "svd");
  return zeroed;
}

void SvdLane::upload(void* to, const void* from, size_t bytes) const {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream()), "svd");
  wait();  // `from` may be freed afterwards
}

void SvdLane::download(void* to, const void* from, size_t bytes) const {
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream()), "svd");
  wait();
}

void SvdLane::wait() const { check(wait_for(stream()), "svd"); }

void SvdLanes::grow(size_t wanted) {
  while (lanes_.size() < wanted) {
    std::unique_ptr<SvdLane> lane = take_idle(device_.index);
    try {
      if (lane == nullptr) lane = std::make_unique<SvdLane>(device_);
    } catch (const Failure&) {
      if (lanes_.empty()) throw;
      return;
    }
    lanes_.push_back(std::move(lane));
  }
}

SvdLanes::~SvdLanes() {
  for (auto& lane : lanes_) {
    // The answers to zero matrices may still be queued; after a failure, so may anything.
    static_cast<void>(wait_for(lane->stream()));
    const int device = lane->device().index;
    const std::lock_guard lock(idle().mutex);
    idle().lanes[device].push_back(std::move(lane));
  }
}

}  // namespace sigma::cuda
