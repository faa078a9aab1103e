// JSON as RFC 8259 has it: a reader into a tree, and text for the few things that are written.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace runner {

class Json {
 public:
  // Throws Failure that starts with `where` and names the byte at which `text` stops being JSON.
  static Json parse(const std::string& text, const std::string& where);
  // Throws Failure where the file cannot be read or is not JSON.
  static Json read(const std::string& path);

  // Each throws Failure naming the place for a value of another type.
  const Json& at(const std::string& key) const;
  const Json* find(const std::string& key) const;  // null for absent keys
  const std::vector<Json>& items() const;
  const std::string& text() const;
  double number() const;
  int64_t integer() const;
  std::vector<int64_t> integers() const;

 private:
  friend class JsonReader;
  enum class Kind { kNull, kBool, kNumber, kText, kList, kObject };

  [[noreturn]] void wrong(const char* expected) const;

  Kind kind_ = Kind::kNull;
  std::string where_;  // such as "manifest.json.golden_cases[2]"
  bool flag_ = false;
  double number_ = 0;
  std::string text_;
  std::vector<Json> items_;
  std::map<std::string, Json> members_;
};

std::string quoted(const std::string& text);
std::string exact(double value);  // reads back as the same double
std::string or_null(const std::optional<int64_t>& value);

}  // namespace runner
