// The arithmetic of attention, in the compiler's portable vectors. Compiled once per instruction
// set with RUNNER_ISA as its name; includes nothing whose inline functions other files share, or
// the linker might keep the copy that an older processor cannot run.
#include "attention.h"

#define RUNNER_JOIN(a, b) a##b
#define RUNNER_KERNEL(isa) RUNNER_JOIN(attention_kernel_, isa)
#define RUNNER_QUOTE(text) #text
#define RUNNER_NAME(isa) RUNNER_QUOTE(isa)

namespace runner {
namespace {

#if defined(__AVX512F__)
constexpr int kWidth = 16, kVectors = 2, kSteps = 8;
#elif defined(__AVX2__)
constexpr int kWidth = 8, kVectors = 2, kSteps = 6;
#else
constexpr int kWidth = 4, kVectors = 4, kSteps = 4;
#endif
// A tile holds kVectors vectors of rows; kSteps keys (or dimensions) share their loads, so that
// kSteps * kVectors sums stay in registers.
constexpr int kLanes = kWidth * kVectors;
constexpr int kBlock = 48;  // keys between two corrections of the running sums; a multiple of kSteps
constexpr float kLog2E = 1.44269504088896340736f;
constexpr float kNone = -__builtin_huge_valf();

typedef float Vector __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));
typedef int32_t Integers __attribute__((vector_size(kWidth * 4), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Vector*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }
inline Vector all(float value) { return Vector{} + value; }
inline Vector larger(Vector a, Vector b) { return a > b ? a : b; }

// 2^x for x <= 0, relative error about 1e-7; 2^-126 below that.
inline Vector power_of_two(Vector x) {
  const float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  x = larger(x, all(-126.0f));
  const Vector rounded = x + magic;
  const Vector rest = x - (rounded - magic);
  // The series of 2^rest for |rest| <= 1/2; the coefficients are ln(2)^n / n!.
  Vector sum = all(1.54035304e-4f);
  sum = sum * rest + 1.33335581e-3f;
  sum = sum * rest + 9.61812911e-3f;
  sum = sum * rest + 5.55041087e-2f;
  sum = sum * rest + 2.40226507e-1f;
  sum = sum * rest + 6.93147181e-1f;
  sum = sum * rest + 1.0f;
  const Integers exponent = (reinterpret_cast<const Integers&>(rounded) + 127) << 23;
  return sum * reinterpret_cast<const Vector&>(exponent);
}

typedef float Four __attribute__((vector_size(16)));

// Adds the halves until four lanes are left.
inline Four fold(Vector value) {
  const float* lanes = reinterpret_cast<const float*>(&value);
  Four sum;
  __builtin_memcpy(&sum, lanes, sizeof sum);
  for (int part = 4; part < kWidth; part += 4) {
    Four next;
    __builtin_memcpy(&next, lanes + part, sizeof next);
    sum += next;
  }
  return sum;
}

#if defined(__clang__)
#define RUNNER_PICK(a, b, i, j, k, l) __builtin_shufflevector(a, b, i, j, k, l)
#else
typedef int32_t FourIntegers __attribute__((vector_size(16)));
#define RUNNER_PICK(a, b, i, j, k, l) __builtin_shuffle(a, b, FourIntegers{i, j, k, l})
#endif

// The sums of four vectors' lanes: two transposing additions.
inline Four sums_of(Vector a, Vector b, Vector c, Vector d) {
  const Four w = fold(a), x = fold(b), y = fold(c), z = fold(d);
  const Four front = RUNNER_PICK(w, x, 0, 4, 1, 5) + RUNNER_PICK(w, x, 2, 6, 3, 7);
  const Four back = RUNNER_PICK(y, z, 0, 4, 1, 5) + RUNNER_PICK(y, z, 2, 6, 3, 7);
  return RUNNER_PICK(front, back, 0, 1, 4, 5) + RUNNER_PICK(front, back, 2, 3, 6, 7);
}

inline float sum_of(Vector value) {
  const Four four = fold(value);
  return (four[0] + four[1]) + (four[2] + four[3]);
}

// ---- a tile: one row per lane ------------------------------------------------------------------

struct Tile {
  float* query;    // [head_dim][kLanes], scaled
  float* sums;     // [head_dim][kLanes]
  float* weights;  // [kBlock][kLanes]: scores, then their exponentials
  Integers visible[kVectors];
  Vector most[kVectors];
  Vector total[kVectors];
};

size_t tile_floats(int64_t head_dim) { return (2 * head_dim + kBlock) * kLanes; }

// weights[n] = query . keys[n] for N neighbouring keys.
template <int N>
inline void score(const Tile& tile, const float* keys, int64_t stride, int64_t head_dim,
                  float* weights) {
  Vector sums[N][kVectors] = {};
  for (int64_t d = 0; d < head_dim; ++d) {
    Vector query[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) query[v] = load(tile.query + d * kLanes + v * kWidth);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sums[n][v] += query[v] * keys[n * stride + d];
    }
  }
  for (int n = 0; n < N; ++n) {
    for (int v = 0; v < kVectors; ++v) store(weights + n * kLanes + v * kWidth, sums[n][v]);
  }
}

// sums[n] = sums[n] * correction + weights . values[n] for N neighbouring dimensions.
template <int N>
inline void mix(const Tile& tile, const float* values, int64_t stride, int64_t count,
                const Vector* correction, float* sums) {
  Vector mixed[N][kVectors];
  for (int n = 0; n < N; ++n) {
    for (int v = 0; v < kVectors; ++v) {
      mixed[n][v] = load(sums + n * kLanes + v * kWidth) * correction[v];
    }
  }
  for (int64_t j = 0; j < count; ++j) {
    Vector weights[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) weights[v] = load(tile.weights + j * kLanes + v * kWidth);
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) mixed[n][v] += weights[v] * values[j * stride + n];
    }
  }
  for (int n = 0; n < N; ++n) {
    for (int v = 0; v < kVectors; ++v) store(sums + n * kLanes + v * kWidth, mixed[n][v]);
  }
}

// Hides what a row must not see, turns scores into weights and updates the running sums.
inline void weigh(Tile& tile, int64_t begin, int64_t count, int64_t seen_by_all,
                  Vector* correction) {
  for (int v = 0; v < kVectors; ++v) {
    float* column = tile.weights + v * kWidth;
    for (int64_t j = seen_by_all > begin ? seen_by_all - begin : 0; j < count; ++j) {
      const Integers position = Integers{} + static_cast<int32_t>(begin + j);
      const Vector scores = load(column + j * kLanes);
      store(column + j * kLanes, position < tile.visible[v] ? scores : all(kNone));
    }
    Vector most = tile.most[v];
    for (int64_t j = 0; j < count; ++j) most = larger(most, load(column + j * kLanes));
    correction[v] = power_of_two(tile.most[v] - most);
    tile.most[v] = most;
    Vector total = tile.total[v] * correction[v];
    for (int64_t j = 0; j < count; ++j) {
      const Vector weight = power_of_two(load(column + j * kLanes) - most);
      store(column + j * kLanes, weight);
      total += weight;
    }
    tile.total[v] = total;
  }
}

void attend_block(const Attention& a, Tile& tile, int64_t kv_head, int64_t begin, int64_t count,
                  int64_t seen_by_all) {
  const int64_t stride = a.kv_heads * a.head_dim;
  const int64_t first = begin * stride + kv_head * a.head_dim;
  int64_t j = 0;
  for (; j + kSteps <= count; j += kSteps) {
    score<kSteps>(tile, a.keys + first + j * stride, stride, a.head_dim, tile.weights + j * kLanes);
  }
  for (; j < count; ++j) {
    score<1>(tile, a.keys + first + j * stride, stride, a.head_dim, tile.weights + j * kLanes);
  }
  Vector correction[kVectors];
  weigh(tile, begin, count, seen_by_all, correction);
  int64_t d = 0;
  for (; d + kSteps <= a.head_dim; d += kSteps) {
    mix<kSteps>(tile, a.values + first + d, stride, count, correction, tile.sums + d * kLanes);
  }
  for (; d < a.head_dim; ++d) {
    mix<1>(tile, a.values + first + d, stride, count, correction, tile.sums + d * kLanes);
  }
}

// Lanes beyond `count` repeat the last row and are never written out.
Tile open_tile(const Attention& a, int64_t kv_head, int64_t first, int64_t count, float* scratch) {
  Tile tile;
  tile.query = scratch;
  tile.sums = scratch + a.head_dim * kLanes;
  tile.weights = scratch + 2 * a.head_dim * kLanes;
  const float scale = a.scale * kLog2E;
  for (int lane = 0; lane < kLanes; ++lane) {
    const int64_t row = first + (lane < count ? lane : count - 1);
    const float* query = a.query + a.offset(kv_head, row);
    for (int64_t d = 0; d < a.head_dim; ++d) tile.query[d * kLanes + lane] = query[d] * scale;
    tile.visible[lane / kWidth][lane % kWidth] = static_cast<int32_t>(a.visible(row));
  }
  for (int64_t i = 0; i < a.head_dim * kLanes; ++i) tile.sums[i] = 0;
  for (int v = 0; v < kVectors; ++v) {
    tile.most[v] = all(kNone);
    tile.total[v] = Vector{};
  }
  return tile;
}

void attend_tile(const Attention& a, int64_t kv_head, int64_t first, int64_t count,
                 float* scratch) {
  Tile tile = open_tile(a, kv_head, first, count, scratch);
  const int64_t end = a.visible(first + count - 1);
  for (int64_t begin = 0; begin < end; begin += kBlock) {
    const int64_t keys = end - begin < kBlock ? end - begin : kBlock;
    attend_block(a, tile, kv_head, begin, keys, a.visible(first));
  }
  for (int lane = 0; lane < count; ++lane) {
    float* out = a.out + a.offset(kv_head, first + lane);
    const float factor = 1.0f / tile.total[lane / kWidth][lane % kWidth];
    for (int64_t d = 0; d < a.head_dim; ++d) out[d] = tile.sums[d * kLanes + lane] * factor;
  }
}

// ---- one row: a dimension per lane ---------------------------------------------------------------

// scores[n] = query . keys[n] for eight neighbouring keys.
inline void score_eight(const float* query, const float* keys, int64_t stride, int64_t head_dim,
                        float scale, float* scores) {
  Vector sums[8] = {};
  int64_t d = 0;
  for (; d + kWidth <= head_dim; d += kWidth) {
    const Vector part = load(query + d);
#pragma GCC unroll 8
    for (int n = 0; n < 8; ++n) sums[n] += part * load(keys + n * stride + d);
  }
  const Four front = sums_of(sums[0], sums[1], sums[2], sums[3]) * scale;
  const Four back = sums_of(sums[4], sums[5], sums[6], sums[7]) * scale;
  __builtin_memcpy(scores, &front, sizeof front);
  __builtin_memcpy(scores + 4, &back, sizeof back);
  for (; d < head_dim; ++d) {
    for (int n = 0; n < 8; ++n) scores[n] += query[d] * keys[n * stride + d] * scale;
  }
}

inline float score_one(const float* query, const float* key, int64_t head_dim, float scale) {
  Vector sum = {};
  int64_t d = 0;
  for (; d + kWidth <= head_dim; d += kWidth) sum += load(query + d) * load(key + d);
  float score = sum_of(sum);
  for (; d < head_dim; ++d) score += query[d] * key[d];
  return score * scale;
}

// sums = sums * correction + weights . values over N vectors of dimensions.
template <int N>
inline void mix_row(const float* weights, const float* values, int64_t stride, int64_t count,
                    float correction, float* sums) {
  Vector even[N], odd[N] = {};
  for (int n = 0; n < N; ++n) even[n] = load(sums + n * kWidth) * correction;
  int64_t j = 0;
  for (; j + 2 <= count; j += 2) {
    const float* row = values + j * stride;
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) {
      even[n] += weights[j] * load(row + n * kWidth);
      odd[n] += weights[j + 1] * load(row + stride + n * kWidth);
    }
  }
  if (j < count) {
    for (int n = 0; n < N; ++n) even[n] += weights[j] * load(values + j * stride + n * kWidth);
  }
  for (int n = 0; n < N; ++n) store(sums + n * kWidth, even[n] + odd[n]);
}

inline void mix_dimensions(const float* weights, const float* values, int64_t stride,
                           int64_t count, float correction, int64_t head_dim, float* sums) {
  int64_t d = 0;
  for (; d + 4 * kWidth <= head_dim; d += 4 * kWidth) {
    mix_row<4>(weights, values + d, stride, count, correction, sums + d);
  }
  for (; d + kWidth <= head_dim; d += kWidth) {
    mix_row<1>(weights, values + d, stride, count, correction, sums + d);
  }
  for (; d < head_dim; ++d) {
    float sum = sums[d] * correction;
    for (int64_t j = 0; j < count; ++j) sum += weights[j] * values[j * stride + d];
    sums[d] = sum;
  }
}

void attend_row(const Attention& a, int64_t kv_head, int64_t row, int64_t begin, int64_t end,
                float* state) {
  const int64_t stride = a.kv_heads * a.head_dim;
  const float* query = a.query + a.offset(kv_head, row);
  const float scale = a.scale * kLog2E;
  float most = kNone, total = 0;
  for (int64_t d = 0; d < a.head_dim; ++d) state[d] = 0;
  for (int64_t j = begin; j < end; j += kBlock) {
    const int64_t count = end - j < kBlock ? end - j : kBlock;
    const int64_t first = j * stride + kv_head * a.head_dim;
    float weights[kBlock];
    int64_t k = 0;
    for (; k + 8 <= count; k += 8) {
      score_eight(query, a.keys + first + k * stride, stride, a.head_dim, scale, weights + k);
    }
    for (; k < count; ++k) {
      weights[k] = score_one(query, a.keys + first + k * stride, a.head_dim, scale);
    }
    for (; k < kBlock; ++k) weights[k] = kNone;
    Vector peaks = all(most);
    for (k = 0; k < kBlock; k += kWidth) peaks = larger(peaks, load(weights + k));
    float peak = peaks[0];
    for (int lane = 1; lane < kWidth; ++lane) peak = peaks[lane] > peak ? peaks[lane] : peak;
    const float correction = power_of_two(all(most - peak))[0];
    most = peak;
    Vector sum = {};
    for (k = 0; k < kBlock; k += kWidth) {
      // 2^-126 of the unused entries is nothing beside the largest weight, 1.
      const Vector weight = power_of_two(load(weights + k) - peak);
      store(weights + k, weight);
      sum += weight;
    }
    total = total * correction + sum_of(sum);
    mix_dimensions(weights, a.values + first, stride, count, correction, a.head_dim, state);
  }
  state[a.head_dim] = most;
  state[a.head_dim + 1] = total;
}

}  // namespace

extern const AttentionKernel RUNNER_KERNEL(RUNNER_ISA);
const AttentionKernel RUNNER_KERNEL(RUNNER_ISA) = {RUNNER_NAME(RUNNER_ISA), kLanes, tile_floats,
                                                   attend_tile, attend_row};

}  // namespace runner
