// measure: one launch as JSON lines. Stamps are kept while a repetition runs and written after it,
// so that writing takes no part of what is measured.
#include <fstream>
#include <sstream>

#include "commands.h"
#include "failure.h"
#include "json.h"
#include "model.h"
#include "page_cache.h"
#include "process.h"
#include "threads.h"

namespace runner {
namespace {

struct Request {
  std::vector<int64_t> prompt;
  std::vector<int64_t> before;  // what is in the cache when the prompt comes
  int64_t generate;
};

struct Stamp {
  int64_t token;
  int64_t ns;
};

struct Repetition {
  int64_t start;
  int64_t prefilled;
  std::vector<Stamp> tokens;  // the first one follows from the prompt
};

Repetition run(Model& model, const Request& request) {
  Repetition result;
  result.tokens.reserve(static_cast<size_t>(request.generate) + 1);
  model.reset();
  if (!request.before.empty()) model.append(request.before);
  result.start = now_ns();
  const float* logits = model.append(request.prompt);
  result.prefilled = now_ns();
  for (int64_t step = 0;; ++step) {
    const int64_t token = argmax(logits, model.vocab_size());
    result.tokens.push_back({token, now_ns()});
    if (step == request.generate) return result;
    logits = model.append({token});
  }
}

void write(const Repetition& result, int64_t index, bool warmup, int64_t origin) {
  std::ostringstream text;
  if (!warmup) {
    for (size_t k = 0; k < result.tokens.size(); ++k) {
      text << "{\"event\":\"token\",\"repetition\":" << index << ",\"index\":" << k
           << ",\"id\":" << result.tokens[k].token << ",\"ns\":" << result.tokens[k].ns << "}\n";
    }
  }
  text << "{\"event\":\"sample\",\"repetition\":" << index
       << ",\"warmup\":" << (warmup ? "true" : "false")
       << ",\"start_ns\":" << result.start - origin
       << ",\"prefill_ns\":" << result.prefilled - result.start
       << ",\"ttft_ns\":" << result.tokens[0].ns - result.start << ",\"token_ns\":[";
  for (size_t k = 1; k < result.tokens.size(); ++k) {
    text << (k > 1 ? "," : "") << result.tokens[k].ns - result.tokens[k - 1].ns;
  }
  text << "]}";
  say(text.str());
}

// Token ids of a text file: first the prompt's, then the --depth ones that precede it in the cache.
Request request_of(const Args& args) {
  const std::string& path = args.text("prompt-ids");
  std::ifstream file(path);
  if (!file) throw Failure("cannot read " + path);
  Request request;
  for (int64_t token; file >> token;) request.prompt.push_back(token);
  if (!file.eof()) throw Failure(path + " is not a list of token ids");
  const int64_t depth = args.integer_or("depth", 0, 0);
  const auto count = static_cast<int64_t>(request.prompt.size());
  if (count <= depth) {
    throw Failure(path + " has " + std::to_string(count) + " tokens, which leaves no prompt beside " +
                  std::to_string(depth) + " of --depth");
  }
  request.before.assign(request.prompt.end() - depth, request.prompt.end());
  request.prompt.resize(static_cast<size_t>(count - depth));
  request.generate = args.integer("generate", 0);
  return request;
}

void require_context(const Model& model, const Request& request) {
  const auto prompt = static_cast<int64_t>(request.before.size() + request.prompt.size());
  if (prompt + request.generate > model.context_length()) {
    throw Failure(std::to_string(prompt) + " prompt tokens and " +
                  std::to_string(request.generate) + " new ones exceed the context of " +
                  std::to_string(model.context_length()));
  }
}

// What the machine did beside the engine, from the start of this process to its end.
class Machine {
 public:
  explicit Machine(bool probes) : probes_(probes) {
    if (probes_) before_ = drift_probe_ns();
  }

  // `origin`: when the first measured repetition began.
  std::string facts(const std::optional<int64_t>& origin) const {
    std::string drift;
    if (probes_) drift = std::to_string(before_) + "," + std::to_string(drift_probe_ns());
    const int64_t now = now_ns();
    const int64_t jump = (wall_ns() - wall_) - (now - start_);
    std::optional<int64_t> booted;
    if (origin) booted = boot_ns() - (now - *origin);
    return ",\"clock_jump_ns\":" + std::to_string(jump) +
           ",\"cpu_ns\":" + std::to_string(cpu_ns()) + ",\"origin_boot_ns\":" + or_null(booted) +
           ",\"drift_ns\":[" + drift + "]";
  }

 private:
  bool probes_;
  int64_t wall_ = wall_ns();
  int64_t start_ = now_ns();
  int64_t before_ = 0;
};

void write_end(bool with_memory, const std::optional<int64_t>& base, const std::string& machine) {
  const Memory memory = read_memory(with_memory);
  std::string line =
      "{\"event\":\"end\",\"peak_rss_bytes\":" + or_null(memory.peak_rss);
  if (with_memory) {
    line += ",\"pss_bytes\":" + or_null(memory.pss) +
            ",\"anon_bytes\":" + or_null(memory.anonymous) +
            ",\"file_bytes\":" + or_null(memory.file) + ",\"base_rss_bytes\":" + or_null(base);
  }
  say(line + machine + "}");
}

// When the first measured repetition began.
std::optional<int64_t> repeat(Model& model, const Request& request, const Args& args) {
  const int64_t warmup = args.integer_or("warmup", 0, 1);
  const int64_t repetitions = args.integer_or("repetitions", 0, 1);
  const double seconds = args.seconds_or("sustained-s", 0.0);
  for (int64_t i = 0; i < warmup; ++i) {
    const Repetition result = run(model, request);
    write(result, i, true, result.start);
  }
  std::optional<int64_t> origin;
  auto lasts = [&](int64_t now) { return static_cast<double>(now - *origin) < seconds * 1e9; };
  for (int64_t i = 0; i < repetitions || (origin && lasts(now_ns())); ++i) {
    const Repetition result = run(model, request);
    if (!origin) origin = result.start;
    write(result, i, false, *origin);
  }
  return origin;
}

std::string listed(const std::vector<int64_t>& numbers) {
  std::string text;
  for (const int64_t number : numbers) text += (text.empty() ? "" : ",") + std::to_string(number);
  return text;
}

}  // namespace

int measure(const Args& args) {
  const std::string& path = args.text("model");
  const Request request = request_of(args);
  const int64_t threads = args.integer_or("threads", 1, 1);
  const std::string refused = args.has("cores") ? use_cores(args.integers("cores")) : "";
  std::string start = "{\"event\":\"start\"," + build_facts() +
                      ",\"threads\":" + std::to_string(threads) +
                      ",\"cpu_affinity\":" + quoted(listed(available_cores())) +
                      ",\"cpu_affinity_reason\":" + quoted(refused);
  if (args.has("cold")) {
    const std::optional<double> share = drop_pages(path);
    start += ",\"page_cache_resident\":" + (share ? exact(*share) : "null");
  }
  say(start + "}");
  const Machine machine(args.has("drift"));
  set_threads(static_cast<int>(threads));
  const std::optional<int64_t> base = read_memory(false).rss;
  Model model(path, args.integer_or("max-prefill", 1, 0));
  require_context(model, request);
  say("{\"event\":\"load\",\"load_ns\":" + std::to_string(model.load_ns()) + "}");
  const std::optional<int64_t> origin = repeat(model, request, args);
  write_end(args.has("memory"), base, machine.facts(origin));
  return kExitOk;
}

}  // namespace runner
