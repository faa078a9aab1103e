// The commands; each returns the exit code and throws Failure.
#pragma once

#include <string>

#include "args.h"

namespace runner {

int measure(const Args& args);
int check(const Args& args);
int serve(const Args& args);
int info(const Args& args);

// Of this build, for the start event and for info: `"runner": ..., "executorch": ..., ...`.
std::string build_facts();

// Index of the first largest of `count` logits.
int64_t argmax(const float* logits, int64_t count);

// Writes one line to stdout at once. Throws Failure where nobody reads any more.
void say(const std::string& line);

}  // namespace runner
