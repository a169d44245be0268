// Settings of MPI's libraries under which they leave this process's code and signals alone.

/**
 * Open MPI and UCX, on which both MPIs may run, rewrite the machine code of mmap, munmap and others while they load or start:
 * V8's threads call these functions at the same time, and crash. They do it for a cache of large network buffers, and no
 * message of ours is large. UCX also takes over SIGSEGV, which V8 needs for WebAssembly.
 */
const settings: Readonly<Record<string, string>> = {
  OMPI_MCA_memory: '^patcher',
  OMPI_MCA_opal_signal: '',
  UCX_MEM_EVENTS: 'no',
  UCX_HANDLE_ERRORS: 'none',
};

/** Sets what the user has not set. Returns a function that takes it back: child processes are none of our business. */
export function settle(): () => void {
  const own = Object.keys(settings).filter((name) => process.env[name] === undefined);
  for (const name of own) process.env[name] = settings[name];
  return () => {
    for (const name of own) delete process.env[name];
  };
}
