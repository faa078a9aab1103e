// What ends a command: one line for stderr and the exit code of paredown's tools.
#pragma once

#include <stdexcept>
#include <string>

namespace runner {

constexpr int kExitOk = 0;
constexpr int kExitHold = 1;
constexpr int kExitBadRequest = 2;
constexpr int kExitMissing = 3;
constexpr int kExitInternal = 70;

class Failure : public std::runtime_error {
 public:
  explicit Failure(const std::string& message, int exit_code = kExitBadRequest)
      : std::runtime_error(message), exit_code(exit_code) {}
  const int exit_code;
};

}  // namespace runner
