#include "runtime_log.h"

#include <executorch/runtime/platform/platform.h>

#include <algorithm>
#include <mutex>

namespace runner {
namespace {

std::mutex mutex;
std::string last;

void keep(et_timestamp_t, et_pal_log_level_t level, const char*, const char*, size_t,
          const char* message, size_t length) {
  if (level != kError && level != kFatal) return;
  const std::lock_guard<std::mutex> guard(mutex);
  last.assign(message, length);
  std::replace(last.begin(), last.end(), '\n', ' ');
}

}  // namespace

void capture_runtime_log() {
  using executorch::runtime::PalImpl;
  executorch::runtime::register_pal(PalImpl::create(keep, __FILE__));
}

std::string last_runtime_error() {
  const std::lock_guard<std::mutex> guard(mutex);
  return last;
}

}  // namespace runner
