// Failures of MPI and of waiting, as exceptions inside of the library.
#pragma once

#include <mpi.h>

#include <stdexcept>
#include <string>

namespace sigma::mpi {

struct TimedOut {};

class MpiError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Throws if a call of MPI failed; `what` is the call.
inline void check(int status, const char* what) {
  if (status == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING] = {};
  int length = 0;
  if (MPI_Error_string(status, text, &length) != MPI_SUCCESS) length = 0;
  throw MpiError(std::string(what) + ": " + std::string(text, static_cast<size_t>(length)));
}

}  // namespace sigma::mpi
