#include "process.h"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "failure.h"
#include "sha256.h"

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

int64_t read_clock(clockid_t id) {
  timespec time{};
  clock_gettime(id, &time);
  return static_cast<int64_t>(time.tv_sec) * 1000000000 + time.tv_nsec;
}

// Pss of every mapping: kernels before 4.14 do not add them up themselves.
std::optional<int64_t> added_pss() {
  std::ifstream file("/proc/self/smaps");
  std::optional<int64_t> total;
  for (std::string line; std::getline(file, line);) {
    if (line.compare(0, 4, "Pss:") == 0) {
      total = total.value_or(0) + std::strtoll(line.c_str() + 4, nullptr, 10) * 1024;
    }
  }
  return total;
}

}  // namespace

int64_t now_ns() { return read_clock(CLOCK_MONOTONIC); }

int64_t boot_ns() { return read_clock(CLOCK_BOOTTIME); }

int64_t wall_ns() { return read_clock(CLOCK_REALTIME); }

int64_t cpu_ns() { return read_clock(CLOCK_PROCESS_CPUTIME_ID); }

int64_t drift_probe_ns() {
  const std::vector<uint8_t> block(1 << 18);
  int64_t fastest = INT64_MAX;
  for (int round = 0; round < 15; ++round) {
    const int64_t start = now_ns();
    const volatile char used = sha256_bytes(block.data(), block.size())[0];
    static_cast<void>(used);
    fastest = std::min(fastest, now_ns() - start);
  }
  return fastest;
}

Memory read_memory(bool with_pss) {
  constexpr const char* kStatus = "/proc/self/status";
  Memory memory;
  memory.peak_rss = kilobytes(kStatus, "VmHWM");
  memory.rss = kilobytes(kStatus, "VmRSS");
  memory.anonymous = kilobytes(kStatus, "RssAnon");
  memory.file = kilobytes(kStatus, "RssFile");
  if (with_pss) {
    memory.pss = kilobytes("/proc/self/smaps_rollup", "Pss");
    if (!memory.pss) memory.pss = added_pss();
  }
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

std::string use_cores(const std::vector<int64_t>& cores) {
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int64_t core : cores) {
    if (core < 0 || core >= CPU_SETSIZE) throw Failure("there is no core " + std::to_string(core));
    CPU_SET(static_cast<int>(core), &set);
  }
  if (sched_setaffinity(0, sizeof set, &set) == 0) return "";
  return std::string("binding to the cores was refused: ") + std::strerror(errno);
}

}  // namespace runner
