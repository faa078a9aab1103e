#include "mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

#include "failure.h"

namespace runner {

using executorch::runtime::Error;
using executorch::runtime::FreeableBuffer;
using executorch::runtime::Result;

namespace {

constexpr auto kPause = std::chrono::milliseconds(5);

void keep(void*, void*, size_t) {}

}  // namespace

MappedFile::MappedFile(const std::string& path) {
  struct stat status;
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) {
    throw Failure(errno == ENOENT ? "no such model file: " + path
                                  : "cannot read " + path + ": " + std::strerror(errno));
  }
  const bool known = fstat(file, &status) == 0;
  void* mapped = MAP_FAILED;
  if (known && S_ISREG(status.st_mode) && status.st_size > 0) {
    bytes_ = static_cast<size_t>(status.st_size);
    mapped = mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, file, 0);
  }
  close(file);
  if (known && !S_ISREG(status.st_mode)) throw Failure(path + " is not a file; give a .pte");
  if (mapped == MAP_FAILED) throw Failure(path + " cannot be mapped, or is empty");
  data_ = static_cast<const unsigned char*>(mapped);
}

MappedFile::~MappedFile() { munmap(const_cast<unsigned char*>(data_), bytes_); }

bool MappedFile::holds(size_t offset, size_t size) const {
  return offset <= bytes_ && size <= bytes_ - offset;
}

Result<FreeableBuffer> MappedFile::load(size_t offset, size_t size, const SegmentInfo&) const {
  if (!holds(offset, size)) return Error::InvalidArgument;
  return FreeableBuffer(data_ + offset, size, keep);
}

Error MappedFile::load_into(size_t offset, size_t size, const SegmentInfo&, void* buffer) const {
  if (!holds(offset, size)) return Error::InvalidArgument;
  std::memcpy(buffer, data_ + offset, size);
  return Error::Ok;
}

void MappedFile::forget() const {
  madvise(const_cast<unsigned char*>(data_), bytes_, MADV_DONTNEED);
}

Forgetting::Forgetting(const MappedFile& file) {
  thread_ = std::thread([this, &file] {
    while (!done_) {
      std::this_thread::sleep_for(kPause);
      file.forget();
    }
  });
}

Forgetting::~Forgetting() {
  done_ = true;
  thread_.join();
}

}  // namespace runner
