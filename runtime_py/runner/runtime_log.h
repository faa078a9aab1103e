// ExecuTorch explains its error codes only in its log.
#pragma once

#include <string>

namespace runner {

// Keeps errors for `last_runtime_error` instead of writing them to stderr. Call first in main.
void capture_runtime_log();

// The latest error that the runtime logged, in one line; empty where there was none.
std::string last_runtime_error();

}  // namespace runner
