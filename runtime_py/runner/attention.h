// Causal attention over a key/value cache, float32, grouped query heads.
#pragma once

#include <cstddef>
#include <cstdint>

namespace runner {

// One call. Query head h reads key/value head h / (heads / kv_heads). Row s of the queries is at
// position start + s and sees the cached positions 0 .. start + s.
struct Attention {
  const float* query;   // [length, heads, head_dim]
  const float* keys;    // [>= start + length, kv_heads, head_dim]
  const float* values;  // as keys
  float* out;           // as query
  int64_t length;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
  int64_t start;
  float scale;

  int64_t group() const { return heads / kv_heads; }
  // Queries that share a key/value head, position by position.
  int64_t rows() const { return length * group(); }
  // Cached positions that row `row` of a key/value head sees.
  int64_t visible(int64_t row) const { return start + row / group() + 1; }
  // Where row `row` of key/value head `kv_head` lies in `query` and `out`.
  int64_t offset(int64_t kv_head, int64_t row) const {
    return ((row / group()) * heads + kv_head * group() + row % group()) * head_dim;
  }
};

// The same code compiled for several instruction sets. Both functions keep running maxima and sums
// of the softmax (Milakov and Gimelshein, arXiv 1805.02867), so that no matrix of scores exists.
struct AttentionKernel {
  const char* isa;
  int64_t lanes;  // most rows of one tile
  size_t (*tile_floats)(int64_t head_dim);  // floats of scratch that `tile` needs
  // Writes rows [first, first + count) of one key/value head, count <= lanes, to `out`. A row is a
  // vector lane.
  void (*tile)(const Attention&, int64_t kv_head, int64_t first, int64_t count, float* scratch);
  // One row over the keys [begin, end): state[0 .. head_dim) is the sum of the weighted values, then
  // the maximum of the scores in units of log 2, then the sum of the weights. A head's dimension is
  // a vector lane; for few rows.
  void (*row)(const Attention&, int64_t kv_head, int64_t row, int64_t begin, int64_t end,
              float* state);
};

// The best kernel that this processor runs.
const AttentionKernel& attention_kernel();

// The kernel of that name, or null where this build or processor has none.
const AttentionKernel* attention_kernel(const char* isa);

// Computes all rows on the threads of ExecuTorch's pool.
void attend(const Attention& attention, const AttentionKernel& kernel);

}  // namespace runner
