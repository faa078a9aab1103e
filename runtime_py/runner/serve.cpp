// serve: an engine over pipes. Requests are lines on stdin: "append 3 1 4", "append-last 3 1 4",
// or "rewind 2" (keep the first two tokens); the end of stdin ends the process. Each answer on stdout is one line of JSON; that of an
// append, {"rows":R}, is followed by R * vocab_size float32 in the machine's byte order: the logits
// after every token, or after the last. A request that cannot be served is answered with
// {"error":...,"exit_code":...}; a runtime that fails between two parts of one append ends the
// process.
#include <cstdio>
#include <iostream>
#include <sstream>

#include "commands.h"
#include "failure.h"
#include "json.h"
#include "model.h"
#include "process.h"
#include "threads.h"

namespace runner {
namespace {

std::vector<int64_t> tokens_of(std::istringstream& words) {
  std::vector<int64_t> tokens;
  for (int64_t token; words >> token;) tokens.push_back(token);
  if (!words.eof()) throw Failure("not a list of integers");
  return tokens;
}

void write_rows(const float* rows, int64_t count, const Model& model) {
  const auto values = static_cast<size_t>(count * model.vocab_size());
  if (std::fwrite(rows, sizeof(float), values, stdout) != values || std::fflush(stdout) != 0) {
    throw Failure("nobody reads the logits");
  }
}

void announce(size_t rows) { say("{\"rows\":" + std::to_string(rows) + "}"); }

void append(Model& model, const std::vector<int64_t>& tokens) {
  bool announced = false;
  model.append(tokens, [&](Model::Logits logits) {
    if (!announced) announce(tokens.size());
    announced = true;
    write_rows(logits.rows, logits.count, model);
  });
}

void answer(Model& model, const std::string& line) {
  std::istringstream words(line);
  std::string command;
  words >> command;
  if (command == "append") {
    append(model, tokens_of(words));
  } else if (command == "append-last") {
    const float* row = model.append(tokens_of(words));
    announce(1);
    write_rows(row, 1, model);
  } else if (command == "rewind") {
    const std::vector<int64_t> kept = tokens_of(words);
    if (kept.size() != 1) throw Failure("rewind takes one position");
    model.rewind(kept[0]);
    say("{}");
  } else {
    throw Failure("unknown request '" + command + "'");
  }
}

}  // namespace

int serve(const Args& args) {
  set_threads(static_cast<int>(args.integer_or("threads", 1, 1)));
  Model model(args.text("model"), args.integer_or("max-prefill", 1, 0));
  say("{\"event\":\"ready\"," + build_facts() +
      ",\"load_ns\":" + std::to_string(model.load_ns()) +
      ",\"vocab_size\":" + std::to_string(model.vocab_size()) +
      ",\"context_length\":" + std::to_string(model.context_length()) +
      ",\"max_prefill_tokens\":" + std::to_string(model.max_prefill()) + "}");
  for (std::string line; std::getline(std::cin, line);) {
    const int64_t position = model.position();
    try {
      answer(model, line);
    } catch (const Failure& failure) {
      // Logits that were announced and are not all there cannot be told from an answer.
      if (model.position() != position) throw;
      say("{\"error\":" + quoted(failure.what()) +
          ",\"exit_code\":" + std::to_string(failure.exit_code) + "}");
    }
  }
  return kExitOk;
}

}  // namespace runner
