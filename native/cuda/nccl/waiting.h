// How a thread waits for other ranks: it looks again and again, because what it waits for may never come.
#pragma once

#include <sched.h>

#include <algorithm>
#include <chrono>
#include <thread>

#include "contract/collective.h"
#include "contract/failure.h"

namespace sigma::cuda {

class Waiting {
 public:
  explicit Waiting(sigma_wait& wait) : wait_(wait) {}

  // Returns when `is_over` says so. Throws after the time-out.
  template <class IsOver>
  void until(const IsOver& is_over) {
    auto pause = std::chrono::microseconds(10);
    while (!is_over()) {
      wait_.progress(wait_.caller);
      const auto waited = Clock::now() - began_;
      if (std::chrono::duration<double>(waited).count() > wait_.seconds) {
        wait_.timed_out = 1;
        throw Failure(SIGMA_NATIVE, "not all ranks took part in time");
      }
      // Ranks that arrive together lose no time; one that waits for a straggler leaves the processor to others.
      if (waited < kSpin) {
        sched_yield();
      } else {
        std::this_thread::sleep_for(pause);
        pause = std::min(2 * pause, kLongestSleep);
      }
    }
  }

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::microseconds kSpin{100}, kLongestSleep{250};

  sigma_wait& wait_;
  Clock::time_point began_ = Clock::now();
};

}  // namespace sigma::cuda
