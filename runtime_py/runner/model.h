// A language model: `forward(tokens int64 [1, S], input_pos int64 [1]) -> logits float32 [1, S, V]`.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "program.h"

namespace runner {

class Model {
 public:
  // Maps the file and loads its method. `max_prefill` bounds the tokens of one call further than
  // the file does; 0: as the file says. Throws Failure naming the file and what is wrong with it.
  Model(const std::string& path, int64_t max_prefill);

  // Logits of neighbouring positions, [count, vocab_size]; valid until the next call.
  struct Logits {
    const float* rows;
    int64_t count;
  };

  // Appends tokens, at most `max_prefill()` in one call of the method; `sink` gets each call's
  // logits. Throws Failure for no tokens, tokens outside of the vocabulary, no room for them, or
  // where the runtime fails.
  void append(const std::vector<int64_t>& tokens, const std::function<void(Logits)>& sink);

  // Appends tokens; the logits [vocab_size] after the last one, valid until the next call.
  const float* append(const std::vector<int64_t>& tokens);

  // Keeps the first `position` tokens; what the cache held after them is overwritten before it is
  // read. Throws Failure for more tokens than there are.
  void rewind(int64_t position);
  void reset() { position_ = 0; }

  int64_t position() const { return position_; }
  int64_t context_length() const { return context_length_; }
  int64_t vocab_size() const { return vocab_size_; }
  int64_t max_prefill() const { return max_prefill_; }
  int64_t arena_bytes() const { return forward_->arena_bytes(); }
  int64_t load_ns() const { return load_ns_; }

 private:
  void check_interface();
  Logits call(const int64_t* tokens, int64_t count);

  std::unique_ptr<ProgramFile> file_;
  std::unique_ptr<LoadedMethod> forward_;
  int64_t position_ = 0;
  int64_t context_length_ = 0;
  int64_t vocab_size_ = 0;
  int64_t max_prefill_ = 0;
  int64_t load_ns_ = 0;
};

}  // namespace runner
