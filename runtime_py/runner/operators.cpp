// ExecuTorch's LLM operators over our attention, under the names that .pte files ask for:
//   llama::update_cache.out(Tensor value, Tensor(a!) cache, SymInt start_pos, *, Tensor(b!) out)
//   llama::custom_sdpa.out(Tensor query, Tensor key, Tensor value, SymInt start_pos,
//       Tensor? attn_mask, float drpout_p, bool is_causal, float? scale, *, Tensor(a!) out)
#include <executorch/runtime/core/exec_aten/util/tensor_util.h>
#include <executorch/runtime/kernel/kernel_includes.h>
#include <executorch/runtime/kernel/operator_registry.h>

#include <cmath>
#include <cstring>

#include "attention.h"

namespace runner {
namespace {

using executorch::aten::ScalarType;
using executorch::aten::Tensor;
using executorch::runtime::Error;
using executorch::runtime::EValue;
using executorch::runtime::KernelRuntimeContext;
using executorch::runtime::Span;

#define RUNNER_REQUIRE(condition, message)     \
  do {                                         \
    if (!(condition)) {                        \
      ET_LOG(Error, "%s", message);            \
      return context.fail(Error::NotSupported); \
    }                                          \
  } while (false)

// [1, positions, heads, head_dim] in float32, without gaps.
bool is_plain(const Tensor& tensor) {
  return tensor.dim() == 4 && tensor.size(0) == 1 && tensor.scalar_type() == ScalarType::Float &&
         executorch::runtime::is_contiguous_dim_order(tensor.dim_order().data(), 4);
}

bool same_heads(const Tensor& a, const Tensor& b) {
  return a.size(2) == b.size(2) && a.size(3) == b.size(3);
}

void update_cache(KernelRuntimeContext& context, Span<EValue*> stack) {
  const Tensor& value = stack[0]->toTensor();
  Tensor& cache = stack[1]->toTensor();
  const int64_t start = stack[2]->toInt();
  RUNNER_REQUIRE(is_plain(value) && is_plain(cache) && same_heads(value, cache),
                 "update_cache: value and cache are not float32 [1, positions, heads, head_dim]");
  RUNNER_REQUIRE(start >= 0 && start + value.size(1) <= cache.size(1),
                 "update_cache: the positions do not fit the cache");
  const int64_t row = cache.size(2) * cache.size(3);
  std::memcpy(cache.mutable_data_ptr<float>() + start * row, value.const_data_ptr<float>(),
              value.nbytes());
}

void custom_sdpa(KernelRuntimeContext& context, Span<EValue*> stack) {
  const Tensor& query = stack[0]->toTensor();
  const Tensor& keys = stack[1]->toTensor();
  const Tensor& values = stack[2]->toTensor();
  const int64_t start = stack[3]->toInt();
  Tensor& out = stack[8]->toTensor();
  RUNNER_REQUIRE(stack[4]->isNone() && stack[5]->toDouble() == 0.0 && stack[6]->toBool(),
                 "custom_sdpa: only causal attention without a mask or dropout");
  RUNNER_REQUIRE(is_plain(query) && is_plain(keys) && is_plain(values) &&
                     same_heads(keys, values) && query.size(3) == keys.size(3) &&
                     query.size(2) % keys.size(2) == 0,
                 "custom_sdpa: not float32 [1, positions, heads, head_dim] of grouped heads");
  RUNNER_REQUIRE(start >= 0 && start + query.size(1) <= keys.size(1) &&
                     keys.size(1) == values.size(1),
                 "custom_sdpa: the positions do not fit the cache");
  RUNNER_REQUIRE(executorch::runtime::resize_tensor(out, query.sizes()) == Error::Ok,
                 "custom_sdpa: the output is too small");
  Attention attention;
  attention.query = query.const_data_ptr<float>();
  attention.keys = keys.const_data_ptr<float>();
  attention.values = values.const_data_ptr<float>();
  attention.out = out.mutable_data_ptr<float>();
  attention.length = query.size(1);
  attention.heads = query.size(2);
  attention.kv_heads = keys.size(2);
  attention.head_dim = query.size(3);
  attention.start = start;
  attention.scale = stack[7]->isNone() ? 1.0f / std::sqrt(static_cast<float>(query.size(3)))
                                       : static_cast<float>(stack[7]->toDouble());
  static const AttentionKernel& kernel = attention_kernel();
  attend(attention, kernel);
}

const executorch::runtime::Kernel kKernels[] = {
    executorch::runtime::Kernel("llama::update_cache.out", update_cache),
    executorch::runtime::Kernel("llama::custom_sdpa.out", custom_sdpa),
};
const Error kRegistered = executorch::runtime::register_kernels({kKernels, 2});

}  // namespace
}  // namespace runner
