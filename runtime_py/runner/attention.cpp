#include "attention.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>

#include "threads.h"

namespace runner {

#if defined(__x86_64__)
extern const AttentionKernel attention_kernel_avx512;
extern const AttentionKernel attention_kernel_avx2;
#endif
extern const AttentionKernel attention_kernel_portable;

namespace {

constexpr int64_t kFewRows = 6;         // up to here a row at a time beats a tile with idle lanes
constexpr int64_t kShortestPart = 128;  // keys worth handing to another thread
constexpr int64_t kSerialWork = 32768;  // multiplications below which threads cost more

struct Aligned {
  void operator()(float* memory) const { ::operator delete[](memory, std::align_val_t(64)); }
};

// Scratch that lives as long as its thread and grows to the largest request.
float* scratch(size_t floats) {
  thread_local std::unique_ptr<float[], Aligned> memory;
  thread_local size_t capacity = 0;
  if (floats > capacity) {
    memory.reset(static_cast<float*>(::operator new[](floats * sizeof(float), std::align_val_t(64))));
    capacity = floats;
  }
  return memory.get();
}

void attend_tiles(const Attention& a, const AttentionKernel& kernel) {
  const int64_t tiles = (a.rows() + kernel.lanes - 1) / kernel.lanes;
  const size_t floats = kernel.tile_floats(a.head_dim);
  for_each_task(tiles * a.kv_heads, a.rows() * a.visible(0) * a.head_dim >= kSerialWork,
                [&](int64_t task) {
    // The last tiles see the most keys: they come first, so that no thread ends up alone with one.
    const int64_t first = (tiles - 1 - task / a.kv_heads) * kernel.lanes;
    const int64_t count = std::min(kernel.lanes, a.rows() - first);
    kernel.tile(a, task % a.kv_heads, first, count, scratch(floats));
  });
}

// Joins the states of one row's parts and writes the row.
void join(const Attention& a, float* states, int64_t parts, float* out) {
  const int64_t size = a.head_dim + 2;
  float most = states[a.head_dim];
  for (int64_t p = 1; p < parts; ++p) most = std::max(most, states[p * size + a.head_dim]);
  float total = 0;
  std::fill(out, out + a.head_dim, 0.0f);
  for (int64_t p = 0; p < parts; ++p) {
    const float* state = states + p * size;
    const float factor = std::exp2(state[a.head_dim] - most);
    total += factor * state[a.head_dim + 1];
    for (int64_t d = 0; d < a.head_dim; ++d) out[d] += factor * state[d];
  }
  for (int64_t d = 0; d < a.head_dim; ++d) out[d] /= total;
}

void attend_rows(const Attention& a, const AttentionKernel& kernel) {
  const int64_t rows = a.rows(), keys = a.start + a.length, size = a.head_dim + 2;
  // Fewer key/value heads than threads: the keys are split as well.
  const int64_t wanted = (thread_count() + a.kv_heads - 1) / a.kv_heads;
  const int64_t parts = std::max<int64_t>(1, std::min(wanted, a.visible(0) / kShortestPart));
  float* states = scratch(a.kv_heads * rows * parts * size);
  for_each_task(a.kv_heads * parts, a.kv_heads * rows * keys * a.head_dim >= kSerialWork,
                [&](int64_t task) {
    const int64_t kv_head = task / parts, part = task % parts;
    for (int64_t row = 0; row < rows; ++row) {
      const int64_t visible = a.visible(row);
      float* state = states + ((kv_head * rows + row) * parts + part) * size;
      kernel.row(a, kv_head, row, visible * part / parts, visible * (part + 1) / parts, state);
    }
  });
  for (int64_t kv_head = 0; kv_head < a.kv_heads; ++kv_head) {
    for (int64_t row = 0; row < rows; ++row) {
      join(a, states + (kv_head * rows + row) * parts * size, parts,
           a.out + a.offset(kv_head, row));
    }
  }
}

bool runs(const AttentionKernel& kernel) {
#if defined(__x86_64__)
  if (&kernel == &attention_kernel_avx512) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw");
  }
  if (&kernel == &attention_kernel_avx2) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  }
#endif
  (void)kernel;
  return true;
}

// Best first.
const AttentionKernel* const kKernels[] = {
#if defined(__x86_64__)
    &attention_kernel_avx512, &attention_kernel_avx2,
#endif
    &attention_kernel_portable};

}  // namespace

const AttentionKernel& attention_kernel() {
  for (const AttentionKernel* kernel : kKernels) {
    if (runs(*kernel)) return *kernel;
  }
  return attention_kernel_portable;
}

const AttentionKernel* attention_kernel(const char* isa) {
  for (const AttentionKernel* kernel : kKernels) {
    if (std::strcmp(kernel->isa, isa) == 0 && runs(*kernel)) return kernel;
  }
  return nullptr;
}

void attend(const Attention& attention, const AttentionKernel& kernel) {
  if (attention.rows() <= kFewRows || attention.length == 1) {
    attend_rows(attention, kernel);
  } else {
    attend_tiles(attention, kernel);
  }
}

}  // namespace runner
