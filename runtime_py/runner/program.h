// A .pte file: mapped, and its methods loaded.
#pragma once

#include <executorch/extension/memory_allocator/malloc_memory_allocator.h>
#include <executorch/runtime/executor/program.h>

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mapped_file.h"

namespace runner {

// A method and the memory that it was planned for. Memory is not touched before it is used: pages
// that no prompt reaches never become resident.
class LoadedMethod {
 public:
  executorch::runtime::Method& operator*() { return *method_; }
  executorch::runtime::Method* operator->() { return method_.get(); }
  int64_t arena_bytes() const;

 private:
  friend class ProgramFile;
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };
  std::vector<std::unique_ptr<uint8_t, Free>> memory_;
  std::vector<executorch::runtime::Span<uint8_t>> spans_;
  executorch::extension::MallocMemoryAllocator lasting_;
  executorch::extension::MallocMemoryAllocator temporary_;
  std::unique_ptr<executorch::runtime::HierarchicalAllocator> planned_;
  std::unique_ptr<executorch::runtime::MemoryManager> manager_;
  std::unique_ptr<executorch::runtime::Method> method_;
};

class ProgramFile {
 public:
  // Throws Failure naming the file and what is wrong with it.
  explicit ProgramFile(const std::string& path);

  // Throws Failure where the file has no such method or the runtime cannot run it.
  std::unique_ptr<LoadedMethod> load(const char* name) const;

  // The value of a method without inputs; nothing where the file has no such method.
  std::optional<int64_t> constant(const char* name) const;

  // Throws Failure: the file's name, `what`, and the runtime's latest explanation.
  [[noreturn]] void fail(const std::string& what) const;

 private:
  std::string path_;
  std::unique_ptr<MappedFile> file_;
  std::unique_ptr<executorch::runtime::Program> program_;
};

// Throws Failure for no tokens, tokens outside of the vocabulary, or more than fit behind
// `position`.
void check_tokens(const std::vector<int64_t>& tokens, int64_t position, int64_t vocab_size,
                  int64_t context_length);

}  // namespace runner
