// A log of what a search has tried, one line each, to explain a failure.
#pragma once

#include <string>

namespace sigma::cuda {

struct Searched {
  std::string text;
  void line(const std::string& what) { text += (text.empty() ? "" : "\n") + what; }
};

}  // namespace sigma::cuda
