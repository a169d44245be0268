// The shim itself must detect faults.
#include <thread>

#include "cuda/runtime/kernels/device.cuh"
#include "families.h"
#include "harness.h"
#include "simulate.h"

namespace check {
namespace {

using sigma::cuda::kAllLanes;
using sigma::cuda::shared_memory;

template <class Kernel>
void expect_fault(const char* what, const char* in_text, const Kernel& kernel) {
  std::string text;
  try {
    sigma::cuda::simulate(dim3(2), dim3(64), 64, kernel);
  } catch (const sigma::cuda::shim::Fault& fault) {
    text = fault.what();
  }
  expect(text.find(in_text) != std::string::npos, std::string(what) + ": the shim said '" + text + "'");
}

// Sums 0 to 63 in each block, in shared memory.
void tree_sum(int* sums) {
  int* const memory = shared_memory<int>();
  const int thread = static_cast<int>(threadIdx.x);
  memory[thread] = thread;
  __syncthreads();
  for (int width = 32; width > 0; width /= 2) {
    if (thread < width) memory[thread] += memory[thread + width];
    __syncthreads();
  }
  if (thread == 0) sums[blockIdx.x] = memory[0];
}

bool tree_sums_are_right() {
  constexpr int kBlocks = 20;
  int sums[kBlocks] = {};
  sigma::cuda::simulate(dim3(kBlocks), dim3(64), 64 * sizeof(int), [&] { tree_sum(sums); });
  for (const int sum : sums) {
    if (sum != 64 * 63 / 2) return false;
  }
  return true;
}

}  // namespace

void shim_faults() {
  expect_fault("a barrier that one thread skips", "1 have ended", [] {
    if (threadIdx.x != 5) __syncthreads();
  });
  expect_fault("lanes of one warp in two collectives", "meet in", [] {
    if (threadIdx.x % 2 == 0) {
      __syncwarp();
    } else {
      __shfl_sync(kAllLanes, 1, 0);
    }
  });
  expect_fault("a collective behind a barrier for some lanes", "__shfl_xor_sync", [] {
    if (threadIdx.x < 40) __syncthreads();
    __shfl_xor_sync(kAllLanes, 1, 1);
    if (threadIdx.x >= 40) __syncthreads();
  });
  expect_fault("a collective that some lanes never reach", "__shfl_down_sync", [] {
    if (threadIdx.x % 32 > 2) __shfl_down_sync(kAllLanes, 1, 1);
  });
  expect_fault("a mask without the calling lane", "leaves out", [] { __ballot_sync(1, 1); });
  expect_fault("a misaligned vector", "16 bytes", [] { sigma::cuda::load_16_bytes(shared_memory<char>() + 4); });

  bool poisoned = true;
  sigma::cuda::simulate(dim3(3), dim3(1), 64, [&] {
    for (int i = 0; i < 64; ++i) poisoned = poisoned && shared_memory<unsigned char>()[i] == sigma::cuda::shim::kPoison;
    std::memset(shared_memory<unsigned char>(), 0, 64);
  });
  expect(poisoned, "each block starts with poisoned shared memory");

  int right = 0;
  sigma::cuda::simulate(dim3(1), dim3(32), 0, [&] {
    const int lane = static_cast<int>(threadIdx.x);
    right += __shfl_sync(kAllLanes, lane, 7) == 7;
    right += __shfl_xor_sync(kAllLanes, lane, 16) == (lane ^ 16);
    right += __shfl_down_sync(kAllLanes, lane, 3u) == (lane + 3 < 32 ? lane + 3 : lane);
    right += __shfl_up_sync(kAllLanes, lane, 3u, 8) == (lane % 8 >= 3 ? lane - 3 : lane);
    right += __ballot_sync(kAllLanes, lane < 4) == 0xfu;
  });
  expect(right == 5 * 32, "collectives return the value of the right lane");

  for (const unsigned seed : {0u, 1u, 2u}) {
    sigma::cuda::shim::options.shuffle = seed;
    expect(tree_sums_are_right(), "a tree reduction with barriers");
  }
  sigma::cuda::shim::options.shuffle = 0;

  bool right_there = false;
  std::thread other([&] { right_there = tree_sums_are_right(); });
  const bool right_here = tree_sums_are_right();
  other.join();
  expect(right_here && right_there, "two host threads simulate at the same time");
}

}  // namespace check
