#pragma once

namespace sigma::cpu {

#if defined(_WIN32)
using ThreadResult = unsigned long;
#else
using ThreadResult = void*;
#endif

// Runs body(argument) on a new thread that no one joins. False if the system refuses the thread; std::thread would
// throw, and allocates.
bool start_thread(ThreadResult (*body)(void*), void* argument) noexcept;

}  // namespace sigma::cpu
