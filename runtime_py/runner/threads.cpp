#include "threads.h"

#include <algorithm>
#include <atomic>

#include <executorch/runtime/core/function_ref.h>

// The wheel ships the pool's library without its header; these are the two symbols used here.
namespace executorch::extension::threadpool {
class ThreadPool final {
 public:
  size_t get_thread_count() const;
  bool _unsafe_reset_threadpool(uint32_t new_thread_count);
  void run(runtime::FunctionRef<void(size_t)> task, size_t range);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace runner {
namespace {

using executorch::extension::threadpool::get_threadpool;

int threads = 1;

}  // namespace

void set_threads(int count) {
  if (static_cast<int>(get_threadpool()->get_thread_count()) != count) {
    get_threadpool()->_unsafe_reset_threadpool(count);
  }
  threads = static_cast<int>(get_threadpool()->get_thread_count());
}

int thread_count() { return threads; }

void for_each_task(int64_t count, bool parallel, const std::function<void(int64_t)>& task) {
  const int64_t workers = parallel ? std::min<int64_t>(threads, count) : 1;
  if (workers <= 1) {
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
  std::atomic<int64_t> next{0};
  auto work = [&](size_t) {
    for (int64_t i = next++; i < count; i = next++) task(i);
  };
  get_threadpool()->run(work, static_cast<size_t>(workers));
}

}  // namespace runner
