// What a search has tried, a line each, for the one who must find out why it failed.
#pragma once

#include <string>

namespace sigma::cuda {

struct Searched {
  std::string text;
  void line(const std::string& what) { text += (text.empty() ? "" : "\n") + what; }
};

}  // namespace sigma::cuda
