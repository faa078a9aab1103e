#include "model.h"

#include <executorch/extension/tensor/tensor.h>

#include <algorithm>

#include "failure.h"
#include "process.h"

namespace runner {

using executorch::aten::ScalarType;
using executorch::extension::from_blob;
using executorch::runtime::Error;
using executorch::runtime::EValue;

Model::Model(const std::string& path, int64_t max_prefill) {
  const int64_t start = now_ns();
  file_ = std::make_unique<ProgramFile>(path);
  forward_ = file_->load("forward");
  load_ns_ = now_ns() - start;
  check_interface();
  if (max_prefill > 0) max_prefill_ = std::min(max_prefill_, max_prefill);
}

void Model::check_interface() {
  const auto meta = (*forward_)->method_meta();
  const auto tokens = meta.input_tensor_meta(0), position = meta.input_tensor_meta(1);
  const auto logits = meta.output_tensor_meta(0);
  const bool known = meta.num_inputs() == 2 && meta.num_outputs() == 1 && tokens.ok() &&
                     position.ok() && logits.ok() && tokens->scalar_type() == ScalarType::Long &&
                     tokens->sizes().size() == 2 && position->sizes().size() == 1 &&
                     position->sizes()[0] == 1 && logits->scalar_type() == ScalarType::Float &&
                     logits->sizes().size() == 3;
  if (!known) {
    file_->fail("has another forward than (tokens [1, S], input_pos [1]) -> logits [1, S, V]");
  }
  // A tensor of dynamic shape states its largest one.
  max_prefill_ = tokens->sizes()[1];
  vocab_size_ = logits->sizes()[2];
  const auto context = file_->constant("get_max_context_len");
  if (!context) file_->fail("does not say its get_max_context_len");
  context_length_ = *context;
}

void Model::append(const std::vector<int64_t>& tokens, const std::function<void(Logits)>& sink) {
  check_tokens(tokens, position_, vocab_size_, context_length_);
  const auto size = static_cast<int64_t>(tokens.size());
  for (int64_t first = 0; first < size; first += max_prefill_) {
    sink(call(tokens.data() + first, std::min(max_prefill_, size - first)));
  }
}

const float* Model::append(const std::vector<int64_t>& tokens) {
  const float* row = nullptr;
  append(tokens, [&](Logits logits) { row = logits.rows + (logits.count - 1) * vocab_size_; });
  return row;
}

void Model::rewind(int64_t position) {
  if (position < 0 || position > position_) {
    throw Failure("position " + std::to_string(position) + " is not within the " +
                  std::to_string(position_) + " tokens that the cache holds");
  }
  position_ = position;
}

Model::Logits Model::call(const int64_t* tokens, int64_t count) {
  executorch::runtime::Method& method = **forward_;
  int64_t position = position_;
  // The runtime takes mutable pointers and does not write to inputs.
  const auto ids = from_blob(const_cast<int64_t*>(tokens),
                             {1, static_cast<executorch::aten::SizesType>(count)}, ScalarType::Long);
  const auto start = from_blob(&position, {1}, ScalarType::Long);
  if (method.set_input(EValue(ids), 0) != Error::Ok ||
      method.set_input(EValue(start), 1) != Error::Ok || method.execute() != Error::Ok) {
    file_->fail("cannot run");
  }
  const auto& logits = method.get_output(0).toTensor();
  position_ += count;
  return {logits.const_data_ptr<float>(), logits.size(1)};
}

}  // namespace runner
