// info: what this build is, and what a model file says of itself.
#include "commands.h"
#include "failure.h"
#include "model.h"
#include "process.h"

namespace runner {

int info(const Args& args) {
  std::string text = "{" + build_facts() + ",\"cores\":" + std::to_string(available_cores().size());
  if (args.has("model")) {
    const Model model(args.text("model"), 0);
    text += ",\"model\":{\"vocab_size\":" + std::to_string(model.vocab_size()) +
            ",\"context_length\":" + std::to_string(model.context_length()) +
            ",\"max_prefill_tokens\":" + std::to_string(model.max_prefill()) +
            ",\"arena_bytes\":" + std::to_string(model.arena_bytes()) +
            ",\"load_ns\":" + std::to_string(model.load_ns()) + "}";
  }
  say(text + "}");
  return kExitOk;
}

}  // namespace runner
