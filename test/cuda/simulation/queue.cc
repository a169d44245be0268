#include "queue.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <random>
#include <vector>

#include "misuse.h"

namespace sigma::simulation {

struct Item {
  std::function<void()> work;  // empty for a wait
  Point after;
};

class Queue {
 public:
  std::deque<Item> items;
  uint64_t posted = 0, done = 0;
  bool busy = false;  // a thread runs the front item
};

namespace {

constexpr uint64_t kLongest = 1024;

struct Queues {
  std::mutex mutex;
  std::condition_variable changed;
  std::vector<std::shared_ptr<Queue>> all;
  std::mt19937 choice{static_cast<unsigned>(setting("SIGMA_SIMULATED_ORDER", 0))};
};

Queues& queues() {
  static Queues& all = *new Queues;
  return all;
}

using Lock = std::unique_lock<std::mutex>;

thread_local bool running = false;

bool is_reached(const Point& point) { return point.queue == nullptr || point.queue->done >= point.count; }

// The queue whose front item must run before that of `queue` can.
Queue& first_needed(Queue& queue) {
  Queue* needed = &queue;
  while (!needed->items.empty() && !is_reached(needed->items.front().after)) {
    needed = needed->items.front().after.queue.get();
  }
  return *needed;
}

// Runs the front item, or waits while another thread does.
void run_front(Queue& queue, Lock& lock) {
  if (queue.busy || queue.items.empty()) {
    queues().changed.wait(lock);
    return;
  }
  queue.busy = true;
  {
    const std::function<void()> work = std::move(queue.items.front().work);
    lock.unlock();
    running = true;
    try {
      if (work) work();
    } catch (const std::exception& error) {
      misuse("a kernel", error.what());
    }
    running = false;
  }
  lock.lock();
  queue.items.pop_front();
  ++queue.done;
  queue.busy = false;
  queues().changed.notify_all();
}

// Sometimes runs an item of another queue first.
void run_some_other(Lock& lock) {
  static const bool chooses = setting("SIGMA_SIMULATED_ORDER", 0) != 0;
  Queues& q = queues();
  if (!chooses || q.choice() % 2 != 0) return;
  const std::shared_ptr<Queue> other = q.all[q.choice() % q.all.size()];
  Queue& needed = first_needed(*other);
  if (!needed.busy && !needed.items.empty()) run_front(needed, lock);
}

void run_until(const Point& point, Lock& lock) {
  while (!is_reached(point)) {
    run_some_other(lock);
    if (!is_reached(point)) run_front(first_needed(*point.queue), lock);
  }
}

}  // namespace

std::shared_ptr<Queue> make_queue() {
  auto made = std::make_shared<Queue>();
  Queues& q = queues();
  const Lock lock(q.mutex);
  // Only this list still holds the finished queues of destroyed streams.
  std::erase_if(q.all, [](const auto& queue) { return queue.use_count() == 1 && queue->items.empty(); });
  q.all.push_back(made);
  return made;
}

void post(const std::shared_ptr<Queue>& queue, std::function<void()> work) {
  Lock lock(queues().mutex);
  queue->items.push_back({std::move(work), {}});
  ++queue->posted;
  if (queue->posted - queue->done > kLongest) run_until({queue, queue->posted - kLongest}, lock);
}

void post_wait(const std::shared_ptr<Queue>& queue, const Point& point) {
  const Lock lock(queues().mutex);
  queue->items.push_back({{}, point});
  ++queue->posted;
}

Point end_of(const std::shared_ptr<Queue>& queue) {
  const Lock lock(queues().mutex);
  return {queue, queue->posted};
}

bool reached(const Point& point) {
  const Lock lock(queues().mutex);
  return is_reached(point);
}

void run_until(const Point& point) {
  Lock lock(queues().mutex);
  run_until(point, lock);
}

void run_all() {
  Lock lock(queues().mutex);
  const std::vector<std::shared_ptr<Queue>> all = queues().all;
  for (const auto& queue : all) run_until({queue, queue->posted}, lock);
}

bool is_running() { return running; }

}  // namespace sigma::simulation
