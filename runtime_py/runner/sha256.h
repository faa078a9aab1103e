// SHA-256 (FIPS 180-4) of a file.
#pragma once

#include <cstdint>
#include <string>

namespace runner {

struct FileHash {
  int64_t bytes;
  std::string digest;  // lower-case hexadecimal
};

// Throws Failure where the file cannot be read.
FileHash sha256_file(const std::string& path);

}  // namespace runner
