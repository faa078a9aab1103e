#include "process.h"

#include <sched.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "failure.h"

namespace runner {
namespace {

// The value of "Name:   123 kB" in bytes.
std::optional<int64_t> kilobytes(const char* path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, name.size() + 1, name + ":") == 0) {
      return std::strtoll(line.c_str() + name.size() + 1, nullptr, 10) * 1024;
    }
  }
  return std::nullopt;
}

}  // namespace

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

Memory read_memory(bool with_pss) {
  constexpr const char* kStatus = "/proc/self/status";
  Memory memory;
  memory.peak_rss = kilobytes(kStatus, "VmHWM");
  memory.rss = kilobytes(kStatus, "VmRSS");
  memory.anonymous = kilobytes(kStatus, "RssAnon");
  memory.file = kilobytes(kStatus, "RssFile");
  if (with_pss) memory.pss = kilobytes("/proc/self/smaps_rollup", "Pss");
  return memory;
}

std::vector<int64_t> available_cores() {
  cpu_set_t set;
  std::vector<int64_t> cores;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return {0};
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &set)) cores.push_back(core);
  }
  return cores;
}

void use_cores(const std::vector<int64_t>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int64_t core : cores) {
    if (core < 0 || core >= CPU_SETSIZE) throw Failure("there is no core " + std::to_string(core));
    CPU_SET(static_cast<int>(core), &set);
  }
  if (sched_setaffinity(0, sizeof set, &set) != 0) {
    throw Failure(std::string("binding to the cores was refused: ") + std::strerror(errno));
  }
}

}  // namespace runner
