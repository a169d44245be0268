#include "libraries/cuda.cc"  // NOLINT: one source, linked in here and a library of its own there
