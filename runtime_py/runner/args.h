// The command line: one command, then options.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace runner {

class Args {
 public:
  // Reads "--name value" and, for names in `flags`, "--name". Throws Failure for anything else.
  Args(int count, char** values, const std::vector<std::string>& options,
       const std::vector<std::string>& flags);

  bool has(const std::string& name) const { return values_.count(name) != 0; }
  // Throws Failure where the option is absent.
  const std::string& text(const std::string& name) const;
  // Throws Failure where the option is absent or no integer of at least `least`.
  int64_t integer(const std::string& name, int64_t least) const;
  int64_t integer_or(const std::string& name, int64_t least, int64_t otherwise) const;
  // Of a list such as "4,5"; empty where the option is absent.
  std::vector<int64_t> integers(const std::string& name) const;
  double seconds_or(const std::string& name, double otherwise) const;

 private:
  std::map<std::string, std::string> values_;
};

}  // namespace runner
