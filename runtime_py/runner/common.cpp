#include <algorithm>
#include <cstdio>

#include "attention.h"
#include "commands.h"
#include "failure.h"
#include "json.h"

#ifndef RUNNER_BUILD
#define RUNNER_BUILD "unknown"
#endif
#ifndef RUNNER_EXECUTORCH
#define RUNNER_EXECUTORCH "unknown"
#endif

namespace runner {

std::string build_facts() {
  return "\"runner\":" + quoted(RUNNER_BUILD) + ",\"executorch\":" + quoted(RUNNER_EXECUTORCH) +
         ",\"attention\":" + quoted(attention_kernel().isa);
}

int64_t argmax(const float* logits, int64_t count) {
  // Independent lanes, which the compiler turns into vectors.
  constexpr int64_t kLanes = 32;
  float most[kLanes];
  std::fill(most, most + kLanes, logits[0]);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      most[lane] = logits[i + lane] > most[lane] ? logits[i + lane] : most[lane];
    }
  }
  float largest = *std::max_element(most, most + kLanes);
  for (; i < count; ++i) largest = std::max(largest, logits[i]);
  const float* found = std::find(logits, logits + count, largest);
  return found == logits + count ? 0 : found - logits;  // NaN equals nothing
}

void say(const std::string& line) {
  if (std::fputs((line + "\n").c_str(), stdout) < 0 || std::fflush(stdout) != 0) {
    throw Failure("cannot write to stdout", kExitOk);
  }
}

}  // namespace runner
