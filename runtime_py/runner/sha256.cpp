#include "sha256.h"

#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "failure.h"

namespace runner {
namespace {

constexpr uint32_t kRounds[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

uint32_t turned(uint32_t word, int bits) { return word >> bits | word << (32 - bits); }

struct State {
  uint32_t words[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                       0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

  void add(const uint8_t* block) {
    uint32_t schedule[64];
    for (int i = 0; i < 16; ++i) {
      const uint8_t* bytes = block + 4 * i;
      schedule[i] = uint32_t(bytes[0]) << 24 | uint32_t(bytes[1]) << 16 | uint32_t(bytes[2]) << 8 |
                    uint32_t(bytes[3]);
    }
    for (int i = 16; i < 64; ++i) {
      const uint32_t early = schedule[i - 15], late = schedule[i - 2];
      schedule[i] = schedule[i - 16] + schedule[i - 7] +
                    (turned(early, 7) ^ turned(early, 18) ^ early >> 3) +
                    (turned(late, 17) ^ turned(late, 19) ^ late >> 10);
    }
    uint32_t v[8];
    std::memcpy(v, words, sizeof v);
    for (int i = 0; i < 64; ++i) {
      const uint32_t chosen = (v[4] & v[5]) ^ (~v[4] & v[6]);
      const uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
      const uint32_t first = v[7] + (turned(v[4], 6) ^ turned(v[4], 11) ^ turned(v[4], 25)) +
                             chosen + kRounds[i] + schedule[i];
      const uint32_t second = (turned(v[0], 2) ^ turned(v[0], 13) ^ turned(v[0], 22)) + majority;
      std::memmove(v + 1, v, 7 * sizeof *v);
      v[4] += first;
      v[0] = first + second;
    }
    for (int i = 0; i < 8; ++i) words[i] += v[i];
  }
};

// The last bytes, a one bit, zeros and the length in bits, in one block or two.
void finish(State& state, const uint8_t* rest, size_t size, uint64_t total_bytes) {
  uint8_t blocks[128] = {};
  std::memcpy(blocks, rest, size);
  blocks[size] = 0x80;
  const size_t end = size < 56 ? 64 : 128;
  for (int i = 0; i < 8; ++i) {
    blocks[end - 1 - static_cast<size_t>(i)] = static_cast<uint8_t>((total_bytes * 8) >> (8 * i));
  }
  for (size_t at = 0; at < end; at += 64) state.add(blocks + at);
}

std::string digest_of(const State& state) {
  std::string digest;
  for (const uint32_t word : state.words) {
    char digits[9];
    std::snprintf(digits, sizeof digits, "%08x", word);
    digest += digits;
  }
  return digest;
}

}  // namespace

std::string sha256_bytes(const uint8_t* bytes, size_t size) {
  State state;
  size_t at = 0;
  for (; at + 64 <= size; at += 64) state.add(bytes + at);
  finish(state, bytes + at, size - at, size);
  return digest_of(state);
}

FileHash sha256_file(const std::string& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "rb"),
                                                             std::fclose);
  if (!file) throw Failure("cannot read " + path);
  State state;
  std::vector<uint8_t> buffer(1 << 16);
  uint64_t total = 0;
  size_t size;
  do {
    size = std::fread(buffer.data(), 1, buffer.size(), file.get());
    total += size;
    size_t at = 0;
    for (; at + 64 <= size; at += 64) state.add(buffer.data() + at);
    if (size < buffer.size()) finish(state, buffer.data() + at, size - at, total);
  } while (size == buffer.size());
  if (std::ferror(file.get())) throw Failure("cannot read " + path);
  return {static_cast<int64_t>(total), digest_of(state)};
}

}  // namespace runner
