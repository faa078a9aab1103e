// check: the bundle's golden cases on this machine, as a check report.
#include <algorithm>
#include <cmath>
#include <sstream>

#include "commands.h"
#include "encoder.h"
#include "failure.h"
#include "json.h"
#include "model.h"
#include "process.h"
#include "sha256.h"
#include "threads.h"

namespace runner {
namespace {

constexpr const char* kManifestSchema = "paredown.bundle/1";
constexpr const char* kReportSchema = "paredown.check/1";
constexpr const char* kAgain = "; export it again or copy it again";

struct Case {
  std::string name;
  bool passed;
  double largest;
  int64_t matching;
  int64_t expected;
  bool near_tie;
  std::optional<double> cosine;
};

// Every file that the manifest lists is here, with its size and its hash.
void check_files(const std::string& bundle, const Json& manifest) {
  for (const Json& entry : manifest.at("files").items()) {
    const std::string path = bundle + "/" + entry.at("path").text();
    const FileHash hash = sha256_file(path);
    if (hash.bytes != entry.at("bytes").integer()) {
      throw Failure(path + " has " + std::to_string(hash.bytes) + " bytes, the manifest says " +
                    std::to_string(entry.at("bytes").integer()) + kAgain);
    }
    if (hash.digest != entry.at("sha256").text()) {
      throw Failure(path + " was edited or damaged: its SHA-256 is not the manifest's" + kAgain);
    }
  }
}

double largest_difference(const Json& golden, const float* logits, int64_t vocab_size) {
  double largest = 0;
  for (const Json& top : golden.at("top_logits").items()) {
    const int64_t token = top.at("token_id").integer();
    if (token < 0 || token >= vocab_size) throw Failure("a golden logit is of no known token");
    const double difference = std::fabs(logits[token] - top.at("logit").number());
    if (!std::isfinite(difference)) {
      throw Failure("golden case '" + golden.at("name").text() + "': computed NaN or infinity",
                    kExitHold);
    }
    largest = std::max(largest, difference);
  }
  return largest;
}

// Passes when no listed logit is off by more than the tolerance and the greedy continuation is the
// expected one or leaves it first at a near-tie.
Case run(Model& model, const Json& golden) {
  const std::vector<int64_t> continuation = golden.at("continuation_ids").integers();
  const double tolerance = golden.at("tolerance").number();
  model.reset();
  const float* logits = model.append(golden.at("prompt_ids").integers());
  Case result{golden.at("name").text(), false, 0, 0, static_cast<int64_t>(continuation.size()),
              false, std::nullopt};
  result.largest = largest_difference(golden, logits, model.vocab_size());
  for (const int64_t expected : continuation) {
    const int64_t predicted = argmax(logits, model.vocab_size());
    if (predicted != expected) {
      if (expected < 0 || expected >= model.vocab_size()) {
        throw Failure("a golden continuation has no known token");
      }
      result.near_tie = static_cast<double>(logits[predicted]) - logits[expected] <= tolerance;
      break;
    }
    if (++result.matching < result.expected) logits = model.append({expected});
  }
  result.passed =
      result.largest <= tolerance && (result.matching == result.expected || result.near_tie);
  return result;
}

double cosine_of(const std::vector<float>& one, const std::vector<Json>& other) {
  double product = 0, one_squared = 0, other_squared = 0;
  if (one.size() != other.size()) return -1;
  for (size_t i = 0; i < one.size(); ++i) {
    const double x = one[i], y = other[i].number();
    product += x * y;
    one_squared += x * x;
    other_squared += y * y;
  }
  const double lengths = std::sqrt(one_squared * other_squared);
  return lengths == 0 ? -1 : product / lengths;
}

// Passes when the embedding points where the golden one does.
Case run(Encoder& encoder, const Json& golden) {
  const std::string& name = golden.at("name").text();
  const double cosine = cosine_of(encoder.embed(golden.at("input_ids").integers()),
                                  golden.at("embedding").items());
  if (!std::isfinite(cosine)) {
    throw Failure("golden case '" + name + "': computed NaN or infinity", kExitHold);
  }
  return {name, cosine >= golden.at("min_cosine").number(), 0, 0, 0, false, cosine};
}

template <typename Network>
std::vector<Case> run_all(Network network, const Json& golden) {
  std::vector<Case> cases;
  for (const Json& item : golden.items()) cases.push_back(run(network, item));
  return cases;
}

std::string text_of(const Case& result) {
  std::ostringstream text;
  text << std::boolalpha << "{\"name\":" << quoted(result.name)
       << ",\"passed\":" << result.passed
       << ",\"max_abs_logit_difference\":" << exact(result.largest)
       << ",\"matching_tokens\":" << result.matching
       << ",\"expected_tokens\":" << result.expected << ",\"near_tie\":" << result.near_tie
       << ",\"cosine\":" << (result.cosine ? exact(*result.cosine) : "null") << "}";
  return text.str();
}

}  // namespace

int check(const Args& args) {
  const std::string& bundle = args.text("bundle");
  const Json manifest = Json::read(bundle + "/manifest.json");
  if (manifest.at("schema").text() != kManifestSchema) {
    throw Failure(bundle + " has schema '" + manifest.at("schema").text() + "', not '" +
                  kManifestSchema + "'");
  }
  if (manifest.at("backend").text() != "executorch") {
    throw Failure(bundle + " is for " + manifest.at("backend").text() +
                  "; this runs executorch bundles");
  }
  check_files(bundle, manifest);
  set_threads(static_cast<int>(args.integer_or("threads", 1, 1)));
  const std::string path = bundle + "/" + manifest.at("model_file").text();
  const Json* kind = manifest.find("kind");
  const bool is_encoder = kind != nullptr && kind->text() == "encoder";
  const std::vector<Case> results =
      is_encoder ? run_all(Encoder(path), manifest.at("golden_embeddings"))
                 : run_all(Model(path, args.integer_or("max-prefill", 1, 0)),
                           manifest.at("golden_cases"));
  std::string cases;
  bool passed = true;
  for (const Case& result : results) {
    passed = passed && result.passed;
    cases += (cases.empty() ? "" : ",") + text_of(result);
  }
  passed = passed && !cases.empty();
  say("{\"bundle_name\":" + quoted(manifest.at("name").text()) +
      ",\"engine\":\"executorch-native\",\"cases\":[" + cases +
      "],\"passed\":" + (passed ? "true" : "false") + ",\"schema\":" + quoted(kReportSchema) + "}");
  return passed ? kExitOk : kExitHold;
}

}  // namespace runner
