#include "args.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <sstream>

#include "failure.h"

namespace runner {
namespace {

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

Args::Args(int count, char** values, const std::vector<std::string>& options,
           const std::vector<std::string>& flags) {
  for (int i = 0; i < count; ++i) {
    const std::string word = values[i];
    const std::string name = word.compare(0, 2, "--") == 0 ? word.substr(2) : "";
    if (contains(flags, name)) {
      values_[name] = "";
    } else if (!contains(options, name)) {
      throw Failure("unknown option '" + word + "'; see 'paredown-runner help'");
    } else if (++i == count) {
      throw Failure(word + " needs a value");
    } else {
      values_[name] = values[i];
    }
  }
}

const std::string& Args::text(const std::string& name) const {
  const auto found = values_.find(name);
  if (found == values_.end()) throw Failure("--" + name + " is needed");
  return found->second;
}

int64_t Args::integer(const std::string& name, int64_t least) const {
  const std::string& digits = text(name);
  char* end = nullptr;
  const int64_t value = std::strtoll(digits.c_str(), &end, 10);
  if (digits.empty() || *end != '\0' || value < least || value > 1000000000) {
    throw Failure("--" + name + " is '" + digits + "', not an integer of at least " +
                  std::to_string(least));
  }
  return value;
}

int64_t Args::integer_or(const std::string& name, int64_t least, int64_t otherwise) const {
  return has(name) ? integer(name, least) : otherwise;
}

std::vector<int64_t> Args::integers(const std::string& name) const {
  std::vector<int64_t> values;
  if (!has(name)) return values;
  std::istringstream list(text(name));
  for (std::string part; std::getline(list, part, ',');) {
    char* end = nullptr;
    values.push_back(std::strtoll(part.c_str(), &end, 10));
    if (part.empty() || *end != '\0') {
      throw Failure("--" + name + " is '" + text(name) + "', not a list of integers");
    }
  }
  return values;
}

double Args::seconds_or(const std::string& name, double otherwise) const {
  if (!has(name)) return otherwise;
  const std::string& digits = text(name);
  char* end = nullptr;
  const double value = std::strtod(digits.c_str(), &end);
  if (digits.empty() || *end != '\0' || !(value >= 0) || std::isinf(value)) {
    throw Failure("--" + name + " is '" + digits + "', not a number of seconds");
  }
  return value;
}

}  // namespace runner
