// Thin SVDs, in parallel on a few lanes.
#include <algorithm>
#include <atomic>
#include <map>
#include <string>
#include <thread>

#include "cuda/ops.h"
#include "cuda/runtime/types.h"
#include "cuda/svd/solve.h"

namespace sigma::cuda {
namespace {

// More lanes do not use the device better, and each holds a workspace.
constexpr size_t kMostLanes = 4;
// Memory limit of a batch with more than one problem.
constexpr int64_t kBatchBytes = int64_t{256} << 20;

// Indices of problems of one shape.
struct Group {
  SvdShape shape;
  std::vector<size_t> members;
};

// Memory of one problem: an upper estimate of the float64 matrices of a route and of the accuracy check.
int64_t bytes_of(const SvdShape& shape) {
  const int64_t numbers = 3 * shape.size() + 5 * shape.r() * shape.r() + 8 * kProbes * (shape.m + shape.n);
  return numbers * static_cast<int64_t>(sizeof(double));
}

// Groups by shape, of at most `most(shape, count)` problems and kBatchBytes.
template <class Most>
std::vector<Group> grouped(const std::vector<SvdShape>& shapes, const std::vector<size_t>& which, Most most) {
  std::map<SvdShape, std::vector<size_t>> by_shape;
  for (const size_t i : which) by_shape[shapes[i]].push_back(i);
  std::vector<Group> groups;
  for (const auto& [shape, members] : by_shape) {
    const int64_t room = std::max<int64_t>(1, std::min(most(shape, members.size()), kBatchBytes / bytes_of(shape)));
    for (size_t begin = 0; begin < members.size(); begin += static_cast<size_t>(room)) {
      const size_t end = std::min(members.size(), begin + static_cast<size_t>(room));
      groups.push_back(
          {shape, {members.begin() + static_cast<ptrdiff_t>(begin), members.begin() + static_cast<ptrdiff_t>(end)}});
    }
  }
  return groups;
}

// The state of one svd call.
template <class T>
class Call {
 public:
  Call(const Device& device, sigma_svd_driver driver, const sigma_svd_problem* problems, int64_t count)
      : device_(device), driver_(driver), errors_(static_cast<size_t>(count)) {
    for (int64_t i = 0; i < count; ++i) {
      const sigma_svd_problem& p = problems[i];
      if (p.rank != std::min(p.rows, p.columns)) {
        throw Failure(SIGMA_UNSUPPORTED, "expected all singular triples, got a rank of " + std::to_string(p.rank));
      }
      shapes_.push_back({p.rows, p.columns});
      items_.push_back({p.a, p.u, p.s, p.vt, 1, 1});
    }
  }

  void run(int64_t* failed);

 private:
  SvdChain<T> chain(const SvdShape& shape) const {
    return svd_chain<T>(driver_, svd_routines<T>(device_, shape), "CUDA");
  }
  std::vector<SvdItem> items_of(const Group& group) const;
  std::vector<size_t> inspect(const SvdLane& lane, int64_t* failed);
  [[noreturn]] void refuse(const SvdLane& lane, size_t index, int64_t element) const;
  std::vector<Group> planned(const std::vector<size_t>& which) const;
  std::vector<size_t> solve_together(const SvdLanes& lanes, const std::vector<Group>& groups);
  void solve(const SvdLane& lane, const Group& group);

  const Device& device_;
  const sigma_svd_driver driver_;
  std::vector<SvdShape> shapes_;
  std::vector<SvdItem> items_;
  // One slot per problem, so that the reported failure does not depend on the order of lanes.
  std::vector<std::exception_ptr> errors_;
};

template <class T>
std::vector<SvdItem> Call<T>::items_of(const Group& group) const {
  std::vector<SvdItem> items;
  for (const size_t i : group.members) items.push_back(items_[i]);
  return items;
}

template <class T>
void Call<T>::refuse(const SvdLane& lane, size_t index, int64_t element) const {
  T value = 0;
  lane.download(&value, static_cast<const T*>(items_[index].a) + element, sizeof(T));
  svd_refuse_non_finite(static_cast<double>(value), element, shapes_[index].n);
}

// Checks and scales all matrices, solves the zero matrices, and returns the indices of the rest.
template <class T>
std::vector<size_t> Call<T>::inspect(const SvdLane& lane, int64_t* failed) {
  std::vector<size_t> all;
  for (size_t i = 0; i < items_.size(); ++i) all.push_back(i);
  constexpr int64_t kMost = 16384;
  std::vector<SvdRange> ranges(items_.size());
  std::vector<size_t> zeros, rest;
  for (const Group& group : grouped(shapes_, all, [](const SvdShape&, size_t) { return kMost; })) {
    const std::vector<SvdRange> found = svd_ranges<T>(SvdBatch(lane, group.shape, items_of(group)));
    for (size_t k = 0; k < found.size(); ++k) ranges[group.members[k]] = found[k];
  }
  for (const size_t i : all) {
    if (ranges[i].first_non_finite >= 0) {
      *failed = static_cast<int64_t>(i);
      refuse(lane, i, ranges[i].first_non_finite);
    }
    const double largest = ranges[i].largest;
    (largest == 0 ? zeros : rest).push_back(i);
    if (largest == 0) continue;
    items_[i].unit = svd_unit(largest);
    items_[i].scale = static_cast<double>(svd_scale(static_cast<T>(largest)));
  }
  for (const Group& group : grouped(shapes_, zeros, [](const SvdShape&, size_t) { return kMost; })) {
    svd_zero<T>(SvdBatch(lane, group.shape, items_of(group)));
  }
  return rest;
}

// Batches if the first route is batched for the shape, else one problem per group.
template <class T>
std::vector<Group> Call<T>::planned(const std::vector<size_t>& which) const {
  return grouped(shapes_, which, [&](const SvdShape& shape, size_t count) {
    const auto share = static_cast<int64_t>((count + kMostLanes - 1) / kMostLanes);
    return std::min(svd_batch_limit<T>(chain(shape), shape), fits_batched_jacobi(shape) ? int64_t{4096} : share);
  });
}

template <class T>
void Call<T>::solve(const SvdLane& lane, const Group& group) {
  const std::vector<std::exception_ptr> found = svd_solve<T>(lane, chain(group.shape), group.shape, items_of(group));
  for (size_t k = 0; k < found.size(); ++k) errors_[group.members[k]] = found[k];
}

// Each lane has a thread, because cuSOLVER's calls block, and takes groups until none is left. Returns the problems
// that ran out of memory next to others.
template <class T>
std::vector<size_t> Call<T>::solve_together(const SvdLanes& lanes, const std::vector<Group>& groups) {
  std::atomic<size_t> next = 0;
  std::vector<char> short_of_memory(groups.size(), 0);
  const auto work = [&](size_t index) {
    const cudaError_t error = cudaSetDevice(device_.index);
    for (size_t g = next++; g < groups.size(); g = next++) {
      try {
        check(error, "svd");
        solve(lanes[index], groups[g]);
      } catch (const Failure& failure) {
        short_of_memory[g] = failure.status() == SIGMA_OUT_OF_MEMORY ? 1 : 0;
        for (const size_t i : groups[g].members) errors_[i] = std::current_exception();
      } catch (...) {
        for (const size_t i : groups[g].members) errors_[i] = std::current_exception();
      }
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(lanes.size());
  for (size_t index = 1; index < lanes.size(); ++index) {
    try {
      threads.emplace_back(work, index);
    } catch (const std::exception&) {  // no thread, or no memory for a thread
      break;                           // the other lanes do the rest
    }
  }
  work(0);
  for (std::thread& thread : threads) thread.join();
  std::vector<size_t> again;
  for (size_t g = 0; g < groups.size(); ++g) {
    if (short_of_memory[g] != 0) again.insert(again.end(), groups[g].members.begin(), groups[g].members.end());
  }
  return again;
}

template <class T>
void Call<T>::run(int64_t* failed) {
  for (const SvdShape& shape : shapes_)
    static_cast<void>(chain(shape));  // rejects an unsupported driver before any work
  {
    SvdLanes lanes(device_);
    lanes.grow(1);
    const std::vector<Group> groups = planned(inspect(lanes[0], failed));
    lanes.grow(std::min(kMostLanes, groups.size()));
    std::vector<size_t> again = solve_together(lanes, groups);
    // Retries one at a time, each with all of the memory.
    std::sort(again.begin(), again.end());
    for (const size_t i : again) {
      errors_[i] = nullptr;
      trim_memory(device_);  // cuSOLVER also allocates memory outside of the pool
      solve_together(lanes, {{shapes_[i], {i}}});
    }
  }
  for (size_t i = 0; i < errors_.size(); ++i) {
    if (!errors_[i]) continue;
    *failed = static_cast<int64_t>(i);
    std::rethrow_exception(errors_[i]);
  }
}

}  // namespace

void svd(sigma_context& context, const sigma_svd& call) {
  // The inputs may depend on work queued on the context's stream.
  context.synchronize();
  context.queued("svd");
  *call.failed = 0;
  for_real(call.real, [&]<class T>(std::type_identity<T>) {
    Call<T>(context.device(), call.driver, call.problems, call.count).run(call.failed);
  });
}

}  // namespace sigma::cuda
