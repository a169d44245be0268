// The C++ library asks glibc, from 2.32 on, whether the process has only one thread. Defined here, the library loads
// from an older glibc, too; 0 is always right, and costs an atomic operation for each shared_ptr.
extern "C" {
extern char __libc_single_threaded;
char __libc_single_threaded = 0;
}
