#include "encoder.h"

#include <executorch/extension/tensor/tensor.h>

namespace runner {

using executorch::aten::ScalarType;
using executorch::extension::from_blob;
using executorch::runtime::Error;
using executorch::runtime::EValue;

Encoder::Encoder(const std::string& path) : file_(std::make_unique<ProgramFile>(path)) {
  forward_ = file_->load("forward");
  const auto meta = (*forward_)->method_meta();
  const auto tokens = meta.input_tensor_meta(0);
  const auto embedding = meta.output_tensor_meta(0);
  const bool known = meta.num_inputs() == 1 && meta.num_outputs() == 1 && tokens.ok() &&
                     embedding.ok() && tokens->scalar_type() == ScalarType::Long &&
                     tokens->sizes().size() == 2 && embedding->scalar_type() == ScalarType::Float;
  if (!known) file_->fail("has another forward than (tokens [1, S]) -> embedding [1, hidden_size]");
}

std::vector<float> Encoder::embed(const std::vector<int64_t>& tokens) {
  executorch::runtime::Method& method = **forward_;
  const auto count = static_cast<executorch::aten::SizesType>(tokens.size());
  // The runtime takes mutable pointers and does not write to inputs.
  const auto ids = from_blob(const_cast<int64_t*>(tokens.data()), {1, count}, ScalarType::Long);
  if (method.set_input(EValue(ids), 0) != Error::Ok || method.execute() != Error::Ok) {
    file_->fail("cannot run");
  }
  const auto& embedding = method.get_output(0).toTensor();
  const float* values = embedding.const_data_ptr<float>();
  return {values, values + embedding.numel()};
}

}  // namespace runner
