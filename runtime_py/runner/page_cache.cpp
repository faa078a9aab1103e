#include "page_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

namespace runner {
namespace {

std::optional<double> resident_share(int file, size_t bytes) {
  void* mapped = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, file, 0);
  if (mapped == MAP_FAILED) return std::nullopt;
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> pages((bytes + page - 1) / page);
  const bool known = mincore(mapped, bytes, pages.data()) == 0;
  munmap(mapped, bytes);
  if (!known) return std::nullopt;
  const auto resident =
      std::count_if(pages.begin(), pages.end(), [](unsigned char flags) { return flags & 1; });
  return static_cast<double>(resident) / static_cast<double>(pages.size());
}

}  // namespace

std::optional<double> drop_pages(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return std::nullopt;
  std::optional<double> share;
  struct stat status;
  if (fstat(file, &status) == 0 && status.st_size > 0) {
    fdatasync(file);  // dirty pages cannot be dropped
    posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    share = resident_share(file, static_cast<size_t>(status.st_size));
  }
  close(file);
  return share;
}

}  // namespace runner
