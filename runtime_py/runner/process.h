// What the kernel says about this process, and the clock.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace runner {

int64_t now_ns();  // monotonic

// Bytes; empty where /proc does not say.
struct Memory {
  std::optional<int64_t> peak_rss;  // VmHWM
  std::optional<int64_t> rss;
  std::optional<int64_t> anonymous;
  std::optional<int64_t> file;  // of files that are mapped and resident
  std::optional<int64_t> pss;   // costs milliseconds: read only where asked for
};

Memory read_memory(bool with_pss);

// Cores that this process may run on, by number.
std::vector<int64_t> available_cores();

// Binds this process, and the threads that it starts later, to these cores. Throws Failure where
// the system refuses.
void use_cores(const std::vector<int64_t>& cores);

}  // namespace runner
