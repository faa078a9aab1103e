#include "program.h"

#include "failure.h"
#include "runtime_log.h"

namespace runner {

using executorch::runtime::Error;
using executorch::runtime::HierarchicalAllocator;
using executorch::runtime::MemoryManager;
using executorch::runtime::Method;
using executorch::runtime::Program;

int64_t LoadedMethod::arena_bytes() const {
  int64_t total = 0;
  for (const auto& span : spans_) total += static_cast<int64_t>(span.size());
  return total;
}

ProgramFile::ProgramFile(const std::string& path) : path_(path) {
  file_ = std::make_unique<MappedFile>(path);
  auto program = Program::load(file_.get(), Program::Verification::InternalConsistency);
  if (!program.ok()) fail("is no .pte, or a part of one");
  program_ = std::make_unique<Program>(std::move(*program));
}

std::unique_ptr<LoadedMethod> ProgramFile::load(const char* name) const {
  const auto meta = program_->method_meta(name);
  if (!meta.ok()) fail(std::string("has no method '") + name + "'");
  auto loaded = std::make_unique<LoadedMethod>();
  for (size_t i = 0; i < meta->num_memory_planned_buffers(); ++i) {
    const auto bytes = static_cast<size_t>(*meta->memory_planned_buffer_size(i));
    auto* memory = static_cast<uint8_t*>(std::calloc(bytes + 1, 1));
    if (memory == nullptr) fail("needs " + std::to_string(bytes) + " bytes of memory at once");
    loaded->memory_.emplace_back(memory);
    loaded->spans_.emplace_back(memory, bytes);
  }
  loaded->planned_ = std::make_unique<HierarchicalAllocator>(
      executorch::runtime::Span<executorch::runtime::Span<uint8_t>>(loaded->spans_.data(),
                                                                    loaded->spans_.size()));
  loaded->manager_ = std::make_unique<MemoryManager>(&loaded->lasting_, loaded->planned_.get(),
                                                     &loaded->temporary_);
  const Forgetting forgetting(*file_);
  auto method = program_->load_method(name, loaded->manager_.get());
  if (!method.ok()) fail("cannot be loaded");
  loaded->method_ = std::make_unique<Method>(std::move(*method));
  return loaded;
}

std::optional<int64_t> ProgramFile::constant(const char* name) const {
  if (!program_->method_meta(name).ok()) return std::nullopt;
  const auto loaded = load(name);
  Method& method = **loaded;
  if (method.execute() != Error::Ok || method.outputs_size() != 1 ||
      !method.get_output(0).isInt()) {
    return std::nullopt;
  }
  return method.get_output(0).toInt();
}

void ProgramFile::fail(const std::string& what) const {
  const std::string reason = last_runtime_error();
  throw Failure(path_ + " " + what + (reason.empty() ? "" : ": " + reason));
}

void check_tokens(const std::vector<int64_t>& tokens, int64_t position, int64_t vocab_size,
                  int64_t context_length) {
  if (tokens.empty()) throw Failure("there are no tokens to run; give at least one");
  for (const int64_t token : tokens) {
    if (token < 0 || token >= vocab_size) {
      throw Failure("token " + std::to_string(token) + " is not in the vocabulary of " +
                    std::to_string(vocab_size));
    }
  }
  const int64_t total = position + static_cast<int64_t>(tokens.size());
  if (total > context_length) {
    throw Failure(std::to_string(total) + " tokens do not fit the context of " +
                  std::to_string(context_length));
  }
}

}  // namespace runner
