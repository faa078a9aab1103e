// A model file in memory, as ExecuTorch reads it: mapped once and whole, read-only.
#pragma once

#include <executorch/runtime/core/data_loader.h>

#include <atomic>
#include <string>
#include <thread>

namespace runner {

class MappedFile final : public executorch::runtime::DataLoader {
 public:
  // Throws Failure where the file cannot be mapped.
  explicit MappedFile(const std::string& path);
  ~MappedFile() override;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  executorch::runtime::Result<executorch::runtime::FreeableBuffer> load(
      size_t offset, size_t size, const SegmentInfo& segment) const override;
  executorch::runtime::Error load_into(size_t offset, size_t size, const SegmentInfo& segment,
                                       void* buffer) const override;
  executorch::runtime::Result<size_t> size() const override { return bytes_; }

  // Gives the resident pages back; the next access finds them in the page cache, or reads them.
  void forget() const;

 private:
  bool holds(size_t offset, size_t size) const;

  const unsigned char* data_ = nullptr;
  size_t bytes_ = 0;
};

// Forgets the file's pages again and again while it lives. XNNPACK copies every weight of a
// delegate while it loads: without this the copies and what they were made from are resident
// together.
class Forgetting {
 public:
  explicit Forgetting(const MappedFile& file);
  ~Forgetting();

 private:
  std::atomic<bool> done_{false};
  std::thread thread_;
};

}  // namespace runner
