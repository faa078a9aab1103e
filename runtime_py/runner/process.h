// What the kernel says about this process, and the clock.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace runner {

int64_t now_ns();  // monotonic
int64_t boot_ns();  // since boot, sleep included: what /proc/uptime counts
int64_t wall_ns();
int64_t cpu_ns();  // of all threads of this process

// Nanoseconds of a fixed computation without the engine: the SHA-256 of 256 KiB, the fastest of
// several, because an interruption only ever makes one slower.
int64_t drift_probe_ns();

// Bytes; empty where /proc does not say.
struct Memory {
  std::optional<int64_t> peak_rss;  // VmHWM
  std::optional<int64_t> rss;
  std::optional<int64_t> anonymous;
  std::optional<int64_t> file;  // of files that are mapped and resident
  std::optional<int64_t> pss;  // costs milliseconds: read only where asked for
};

Memory read_memory(bool with_pss);

// Cores that this process may run on, by number.
std::vector<int64_t> available_cores();

// Binds this process, and the threads that it starts later, to these cores. Where the system
// refuses (a core that is switched off, another cpuset) all stays as it was; the answer says why.
std::string use_cores(const std::vector<int64_t>& cores);

}  // namespace runner
