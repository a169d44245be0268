// Measures time between two events of a stream, by the device's clock.
#pragma once

#include "cuda/runtime/handles.h"

namespace sigma::cuda {

class Timer {
 public:
  void start(cudaStream_t stream) { record(started_, stream); }
  void stop(cudaStream_t stream) { record(stopped_, stream); }
  // Milliseconds from start to stop. Synchronise the stream first.
  double elapsed() const {
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, started_.get(), stopped_.get()), "the timer");
    return static_cast<double>(milliseconds);
  }

 private:
  static void record(Event& event, cudaStream_t stream) {
    if (!event) {
      cudaEvent_t made = nullptr;
      check(cudaEventCreateWithFlags(&made, cudaEventDefault), "an event");
      event = Event(made);
    }
    check(cudaEventRecord(event.get(), stream), "the timer");
  }

  Event started_, stopped_;
};

}  // namespace sigma::cuda
