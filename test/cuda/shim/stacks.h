// Stack switching in a few instructions. swapcontext is slower: it makes a system call for the signal mask, and a
// sanitizer clears the whole stack at each call.
#pragma once

#include <cstddef>
#include <cstdint>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace sigma::cuda::shim {

#if defined(__x86_64__)

// The stack pointer of a suspended stack. The callee-saved registers are on top of the stack.
using Stack = void*;

__attribute__((naked, noinline)) inline void switch_stacks(Stack* /*from*/, Stack* /*to*/) {
  asm("pushq %rbp\n\tpushq %rbx\n\tpushq %r12\n\tpushq %r13\n\tpushq %r14\n\tpushq %r15\n\t"
      "movq %rsp, (%rdi)\n\tmovq (%rsi), %rsp\n\t"
      "popq %r15\n\tpopq %r14\n\tpopq %r13\n\tpopq %r12\n\tpopq %rbx\n\tpopq %rbp\n\tret");
}

// The first function of a new stack: calls entry(argument), which must never return.
__attribute__((naked, noinline)) inline void begin_stack() { asm("movq %r12, %rdi\n\tcallq *%r13\n\tud2"); }

inline void make_stack(Stack& stack, void* memory, size_t bytes, void (*entry)(void*), void* argument) {
  auto* const top = static_cast<uint64_t*>(memory) + bytes / 16 * 2;
  uint64_t* const registers = top - 9;
  for (int i = 0; i < 9; ++i) registers[i] = 0;
  registers[2] = reinterpret_cast<uint64_t>(entry);     // r13
  registers[3] = reinterpret_cast<uint64_t>(argument);  // r12
  registers[6] = reinterpret_cast<uint64_t>(begin_stack);
  stack = registers;
}

#else

using Stack = ucontext_t;

inline void switch_stacks(Stack* from, Stack* to) { swapcontext(from, to); }

inline void begin_stack(unsigned entry_high, unsigned entry_low, unsigned high, unsigned low) {
  const auto entry = reinterpret_cast<void (*)(void*)>(static_cast<uintptr_t>(entry_high) << 32 | entry_low);
  entry(reinterpret_cast<void*>(static_cast<uintptr_t>(high) << 32 | low));
}

inline void make_stack(Stack& stack, void* memory, size_t bytes, void (*entry)(void*), void* argument) {
  getcontext(&stack);
  stack.uc_stack.ss_sp = memory;
  stack.uc_stack.ss_size = bytes;
  const auto function = reinterpret_cast<uintptr_t>(entry);
  const auto given = reinterpret_cast<uintptr_t>(argument);
  makecontext(&stack, reinterpret_cast<void (*)()>(begin_stack), 4, static_cast<unsigned>(function >> 32),
              static_cast<unsigned>(function), static_cast<unsigned>(given >> 32), static_cast<unsigned>(given));
}

#endif

}  // namespace sigma::cuda::shim
