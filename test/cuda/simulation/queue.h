// The queues of the simulated device's streams. Queued work runs as late as the waits allow: only when the host waits
// for it, directly or through an event. So a wait that is missing in the backend shows as wrong numbers.
//
// SIGMA_SIMULATED_ORDER=<seed>: where several queues could run, one is chosen at random. 0 (the default) runs nothing
// before it must.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace sigma::simulation {

class Queue;

// A position in a queue: after the first `count` items.
struct Point {
  std::shared_ptr<Queue> queue;  // null: reached from the start
  uint64_t count = 0;
};

std::shared_ptr<Queue> make_queue();
// A queue that is too long runs its oldest item first, as a driver's does.
void post(const std::shared_ptr<Queue>& queue, std::function<void()> work);
// Later items of `queue` run after `point` is reached.
void post_wait(const std::shared_ptr<Queue>& queue, const Point& point);
// After everything posted so far.
Point end_of(const std::shared_ptr<Queue>& queue);
bool reached(const Point& point);
// Runs what `point` needs on the calling thread, or waits for the thread that runs it.
void run_until(const Point& point);
void run_all();
// Whether the calling thread runs an item of a queue.
bool is_running();

}  // namespace sigma::simulation

// For the fake math libraries, which are separate shared objects. Runs run(argument) in the order of the stream.
extern "C" void sigma_simulated_enqueue(void* stream, void (*run)(void* argument), void* argument);
