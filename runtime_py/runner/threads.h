// Work on the threads of ExecuTorch's pool, which XNNPACK uses too.
#pragma once

#include <cstdint>
#include <functional>

namespace runner {

// Makes the pool one of `count` threads, the calling one included. Not while work runs.
void set_threads(int count);

int thread_count();

// Calls task(0) ... task(count - 1), on several threads where `parallel`; a thread takes the next
// task when it is free.
void for_each_task(int64_t count, bool parallel, const std::function<void(int64_t)>& task);

}  // namespace runner
