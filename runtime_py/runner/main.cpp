// paredown-runner: a .pte on ExecuTorch's own C++ libraries, without Python and without torch.
#include <csignal>
#include <cstdio>
#include <cstring>
#include <new>

#include "commands.h"
#include "failure.h"
#include "runtime_log.h"

namespace runner {
namespace {

constexpr const char* kHelp =
    "paredown-runner measure --model F --prompt-ids F --generate N [--threads N] [--repetitions N]\n"
    "                        [--warmup N] [--depth N] [--max-prefill N] [--sustained-s S] [--memory]\n"
    "                        [--cold] [--cores N,N] [--drift]\n"
    "paredown-runner check   --bundle DIR [--threads N] [--max-prefill N]\n"
    "paredown-runner serve   --model F [--threads N] [--max-prefill N]\n"
    "paredown-runner info    [--model F]\n";

struct Command {
  const char* name;
  int (*run)(const Args&);
  std::vector<std::string> options;
  std::vector<std::string> flags;
};

const Command kCommands[] = {
    {"measure", measure,
     {"model", "prompt-ids", "generate", "threads", "repetitions", "warmup", "depth", "max-prefill",
      "sustained-s", "cores"},
     {"memory", "cold", "drift"}},
    {"check", check, {"bundle", "threads", "max-prefill"}, {}},
    {"serve", serve, {"model", "threads", "max-prefill"}, {}},
    {"info", info, {"model"}, {}},
};

int run(int count, char** words) {
  const std::string name = count > 1 ? words[1] : "help";
  if (name == "help" || name == "--help") {
    std::fputs(kHelp, stdout);
    return kExitOk;
  }
  for (const Command& command : kCommands) {
    if (name == command.name) {
      return command.run(Args(count - 2, words + 2, command.options, command.flags));
    }
  }
  throw Failure("unknown command '" + name + "'; known: measure, check, serve, info, help");
}

int fail(const char* message, int exit_code) {
  std::fprintf(stderr, "paredown-runner: %s\n", message);
  return exit_code;
}

}  // namespace
}  // namespace runner

int main(int count, char** words) {
  using namespace runner;
  std::signal(SIGPIPE, SIG_IGN);  // writing says so
  capture_runtime_log();
  try {
    return run(count, words);
  } catch (const Failure& failure) {
    return fail(failure.what(), failure.exit_code);
  } catch (const std::bad_alloc&) {
    return fail("out of memory", kExitBadRequest);
  } catch (const std::exception& error) {
    return fail(error.what(), kExitInternal);
  }
}
