// Which part of a file is in memory already.
#pragma once

#include <optional>
#include <string>

namespace runner {

// Asks the kernel to forget a file's pages; the share that is still resident, empty where the
// kernel does not say.
std::optional<double> drop_pages(const std::string& path);

}  // namespace runner
