#include "json.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "failure.h"

namespace runner {

// Recursive descent; a document deeper than kDeepest is refused, not recursed into.
class JsonReader {
 public:
  JsonReader(const std::string& text, const std::string& where) : text_(text), where_(where) {}

  Json document() {
    Json value = read(where_, 0);
    skip_space();
    if (at_ != text_.size()) fail("the end");
    return value;
  }

 private:
  static constexpr int kDeepest = 64;

  [[noreturn]] void fail(const char* expected) const {
    throw Failure(where_ + " is not JSON: expected " + expected + " at byte " +
                  std::to_string(at_));
  }

  void skip_space() {
    while (at_ < text_.size() && std::string(" \t\r\n").find(text_[at_]) != std::string::npos) ++at_;
  }

  bool take(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  bool take_word(const char* word) {
    const std::string expected(word);
    if (text_.compare(at_, expected.size(), expected) != 0) return false;
    at_ += expected.size();
    return true;
  }

  Json read(const std::string& where, int depth) {
    if (depth > kDeepest) fail("fewer levels");
    Json value;
    value.where_ = where;
    skip_space();
    if (take('{')) {
      value.kind_ = Json::Kind::kObject;
      read_members(value, depth);
    } else if (take('[')) {
      value.kind_ = Json::Kind::kList;
      read_items(value, depth);
    } else if (at_ < text_.size() && text_[at_] == '"') {
      value.kind_ = Json::Kind::kText;
      value.text_ = read_text();
    } else if (take_word("true") || take_word("false")) {
      value.kind_ = Json::Kind::kBool;
      value.flag_ = text_[at_ - 2] == 'u';
    } else if (!take_word("null")) {
      value.kind_ = Json::Kind::kNumber;
      value.number_ = read_number();
    }
    return value;
  }

  void read_members(Json& value, int depth) {
    if (take('}')) return;
    do {
      skip_space();
      if (at_ >= text_.size() || text_[at_] != '"') fail("a key");
      const std::string key = read_text();
      if (!take(':')) fail("':'");
      value.members_[key] = read(value.where_ + "." + key, depth + 1);
    } while (take(','));
    if (!take('}')) fail("',' or '}'");
  }

  void read_items(Json& value, int depth) {
    if (take(']')) return;
    do {
      const std::string place = "[" + std::to_string(value.items_.size()) + "]";
      value.items_.push_back(read(value.where_ + place, depth + 1));
    } while (take(','));
    if (!take(']')) fail("',' or ']'");
  }

  double read_number() {
    const size_t begin = at_;
    while (at_ < text_.size() && std::string("+-.0123456789eE").find(text_[at_]) != std::string::npos)
      ++at_;
    const std::string digits = text_.substr(begin, at_ - begin);
    char* end = nullptr;
    const double value = std::strtod(digits.c_str(), &end);
    const bool starts = !digits.empty() && digits[0] != '+' && digits[0] != '.';
    if (!starts || *end != '\0' || !std::isfinite(value)) {
      at_ = begin;
      fail("a value");
    }
    return value;
  }

  std::string read_text() {
    std::string result;
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (static_cast<unsigned char>(text_[at_]) < 0x20) fail("no control character");
      if (text_[at_] == '\\') {
        ++at_;
        append_escape(result);
      } else {
        result += text_[at_];
      }
    }
    if (at_ >= text_.size()) fail("'\"'");
    ++at_;
    return result;
  }

  void append_escape(std::string& result) {
    static const std::string kNames = "\"\\/bfnrt", kValues = "\"\\/\b\f\n\r\t";
    if (at_ >= text_.size()) fail("an escape");
    const size_t known = kNames.find(text_[at_]);
    if (known != std::string::npos) {
      result += kValues[known];
      return;
    }
    if (text_[at_] != 'u') fail("an escape");
    uint32_t code = read_hex();
    if (code >= 0xD800 && code < 0xDC00 && text_.compare(at_ + 1, 2, "\\u") == 0) {
      at_ += 2;
      code = 0x10000 + ((code - 0xD800) << 10) + ((read_hex() - 0xDC00) & 0x3FF);
    }
    append_utf8(result, code);
  }

  // The four digits after the current 'u'; stays on the last one.
  uint32_t read_hex() {
    uint32_t code = 0;
    for (int i = 0; i < 4; ++i) {
      static const std::string kDigits = "0123456789abcdef";
      ++at_;
      const char c = at_ < text_.size() ? text_[at_] : ' ';
      const size_t digit = kDigits.find(c >= 'A' && c <= 'F' ? c + 32 : c);
      if (digit == std::string::npos) fail("four hexadecimal digits");
      code = code * 16 + static_cast<uint32_t>(digit);
    }
    return code;
  }

  static void append_utf8(std::string& result, uint32_t code) {
    const int more = code < 0x80 ? 0 : code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const uint32_t kFirst[] = {0, 0xC0, 0xE0, 0xF0};
    result += static_cast<char>(kFirst[more] | (code >> (6 * more)));
    for (int i = more - 1; i >= 0; --i) {
      result += static_cast<char>(0x80 | ((code >> (6 * i)) & 0x3F));
    }
  }

  const std::string& text_;
  const std::string& where_;
  size_t at_ = 0;
};

Json Json::parse(const std::string& text, const std::string& where) {
  return JsonReader(text, where).document();
}

Json Json::read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (!file || !(text << file.rdbuf())) throw Failure("cannot read " + path);
  return parse(text.str(), path);
}

void Json::wrong(const char* expected) const {
  throw Failure(where_ + " is not " + expected);
}

const Json* Json::find(const std::string& key) const {
  if (kind_ != Kind::kObject) wrong("an object");
  const auto found = members_.find(key);
  return found == members_.end() ? nullptr : &found->second;
}

const Json& Json::at(const std::string& key) const {
  const Json* value = find(key);
  if (value == nullptr) throw Failure(where_ + " lacks the key '" + key + "'");
  return *value;
}

const std::vector<Json>& Json::items() const {
  if (kind_ != Kind::kList) wrong("a list");
  return items_;
}

const std::string& Json::text() const {
  if (kind_ != Kind::kText) wrong("a text");
  return text_;
}

double Json::number() const {
  if (kind_ != Kind::kNumber) wrong("a number");
  return number_;
}

int64_t Json::integer() const {
  const double limit = 9007199254740992.0;  // 2^53: beyond it doubles skip integers
  if (kind_ != Kind::kNumber || number_ != std::floor(number_) || std::fabs(number_) > limit) {
    wrong("an integer");
  }
  return static_cast<int64_t>(number_);
}

std::vector<int64_t> Json::integers() const {
  std::vector<int64_t> values;
  for (const Json& item : items()) values.push_back(item.integer());
  return values;
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", c);
      result += escape;
    } else {
      result += c;
    }
  }
  return result + "\"";
}

std::string exact(double value) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.17g", value);
  return digits;
}

std::string or_null(const std::optional<int64_t>& value) {
  return value ? std::to_string(*value) : "null";
}

}  // namespace runner
