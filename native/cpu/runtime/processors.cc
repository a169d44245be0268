// Control groups, versions 1 and 2, which only Linux has: https://docs.kernel.org/admin-guide/cgroup-v2.html,
// proc_pid_mountinfo(5).
#include "cpu/runtime/processors.h"

#include <algorithm>
#include <exception>
#include <fstream>
#include <limits>
#include <sstream>

#if defined(__linux__)
#include <sched.h>
#else
#include <thread>
#endif

namespace sigma::cpu {
namespace {

constexpr double kUnlimited = std::numeric_limits<double>::infinity();

// Mount point of the cpu controller's hierarchy, and this process's path below the mount point.
struct Group {
  int version = 0;  // 0: not found
  std::string mount, path;
};

bool lists(const std::string& names, const std::string& name) {
  return ("," + names + ",").find("," + name + ",") != std::string::npos;
}

// The group path of this process. A line is "number:controllers:path"; version 2 has no controllers.
std::string path_of(const std::string& root, int version) {
  std::ifstream file(root + "/proc/self/cgroup");
  for (std::string number, controllers, path;
       std::getline(file, number, ':') && std::getline(file, controllers, ':') && std::getline(file, path);) {
    if (version == 2 ? controllers.empty() : lists(controllers, "cpu")) return path;
  }
  return "";
}

// A line is "id parent device root mount options [tags] - type source options".
Group find_group(const std::string& root) {
  std::ifstream file(root + "/proc/self/mountinfo");
  Group found;
  for (std::string line; std::getline(file, line);) {
    const size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    std::istringstream left(line.substr(0, dash)), right(line.substr(dash + 3));
    std::string skipped, shown, mount, type, options;
    left >> skipped >> skipped >> skipped >> shown >> mount;
    right >> type >> skipped >> options;
    const int version = type == "cgroup2" ? 2 : type == "cgroup" && lists(options, "cpu") ? 1 : 0;
    // In a hybrid setup, version 1 has the cpu controller.
    if (version == 0 || found.version == 1) continue;
    std::string path = path_of(root, version);
    if (path.empty()) continue;
    // A container may see only a subtree of the hierarchy.
    if (shown != "/")
      path = (path + "/").compare(0, shown.size() + 1, shown + "/") == 0 ? path.substr(shown.size()) : "";
    if (path == "/" || path.compare(0, 3, "/..") == 0) path.clear();
    found = {version, root + mount, path};
  }
  return found;
}

// Quota divided by period of one group; "max" and -1 mean unlimited.
double quota_of(const std::string& folder, int version) {
  double quota = 0, period = 0;
  if (version == 2) {
    std::ifstream(folder + "/cpu.max") >> quota >> period;
  } else {
    std::ifstream(folder + "/cpu.cfs_quota_us") >> quota;
    std::ifstream(folder + "/cpu.cfs_period_us") >> period;
  }
  return quota > 0 && period > 0 ? quota / period : kUnlimited;
}

int processors_by_affinity() {
#if defined(__linux__)
  cpu_set_t sets[8];  // 8192 processors, the maximum of Linux
  if (sched_getaffinity(0, sizeof(sets), sets) != 0) return 1;
  return std::max(1, CPU_COUNT_S(sizeof(sets), sets));
#else
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
#endif
}

}  // namespace

double processor_quota(const std::string& root) {
  Group group = find_group(root);
  if (group.version == 0) return kUnlimited;
  // Limits of parent groups apply too.
  double least = quota_of(group.mount + group.path, group.version);
  while (!group.path.empty()) {
    group.path.erase(group.path.rfind('/'));
    least = std::min(least, quota_of(group.mount + group.path, group.version));
  }
  return least;
}

int usable_processors() noexcept {
  const int count = processors_by_affinity();
  try {
    // Round down: a thread beyond the quota would get the whole group throttled for the rest of each period.
    return std::max(1, static_cast<int>(std::min<double>(count, processor_quota(""))));
  } catch (const std::exception&) {
    return count;
  }
}

}  // namespace sigma::cpu
