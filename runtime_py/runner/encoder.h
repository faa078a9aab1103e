// An encoder: `forward(tokens int64 [1, S]) -> embedding float32 [1, hidden_size]`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "program.h"

namespace runner {

class Encoder {
 public:
  // Throws Failure naming the file and what is wrong with it.
  explicit Encoder(const std::string& path);

  // The embedding of one sentence. Throws Failure for no tokens, or where the runtime fails.
  std::vector<float> embed(const std::vector<int64_t>& tokens);

 private:
  std::unique_ptr<ProgramFile> file_;
  std::unique_ptr<LoadedMethod> forward_;
};

}  // namespace runner
