#include "libraries/cuda.cc"  // NOLINT: linked in here; also built as a separate library
