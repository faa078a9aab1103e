// The runner's attention as a C function, for tests to call through ctypes.
#include "attention.h"
#include "threads.h"

extern "C" int attend(const char* isa, int threads, const float* query, const float* keys,
                      const float* values, float* out, int64_t length, int64_t heads,
                      int64_t kv_heads, int64_t head_dim, int64_t start, float scale) {
  const runner::AttentionKernel* kernel = runner::attention_kernel(isa);
  if (kernel == nullptr) return 1;
  if (runner::thread_count() != threads) runner::set_threads(threads);
  runner::Attention attention;
  attention.query = query;
  attention.keys = keys;
  attention.values = values;
  attention.out = out;
  attention.length = length;
  attention.heads = heads;
  attention.kv_heads = kv_heads;
  attention.head_dim = head_dim;
  attention.start = start;
  attention.scale = scale;
  runner::attend(attention, *kernel);
  return 0;
}
