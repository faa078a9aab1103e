// SHA-256 (FIPS 180-4) of a file and of memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace runner {

struct FileHash {
  int64_t bytes;
  std::string digest;  // lower-case hexadecimal
};

// Digest of `size` bytes.
std::string sha256_bytes(const uint8_t* bytes, size_t size);

// Throws Failure where the file cannot be read.
FileHash sha256_file(const std::string& path);

}  // namespace runner
