#include "worker/torch_support/weights.h"

#include <ATen/ops/_to_copy.h>
#include <ATen/ops/empty.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "common/checkpoint/finite.h"
#include "worker/torch_support/call.h"
#include "worker/torch_support/tensors.h"

namespace neolog::torch_support {
namespace {

constexpr size_t kShownErrors = 10;
// MKL's matrix products round differently where a weight's address is no multiple of 16 (measured):
// bits must not depend on where a container put it.
constexpr uintptr_t kAlignment = 16;

std::string ShapeText(at::IntArrayRef shape) {
  return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", "));
}

bool IsFloating(TensorType type) {
  return type == TensorType::kFloat16 || type == TensorType::kBFloat16 ||
         type == TensorType::kFloat32 || type == TensorType::kFloat64;
}

bool Inside(std::string_view bytes, const TensorView& view) {
  const auto* begin = reinterpret_cast<const std::byte*>(bytes.data());
  return view.data.data() >= begin && view.data.data() + view.data.size() <= begin + bytes.size();
}

}  // namespace

absl::StatusOr<std::unique_ptr<WeightMap>> WeightMap::OfTable(const WeightTable& table,
                                                              std::string name) {
  std::unique_ptr<WeightMap> map(new WeightMap);
  map->name_ = std::move(name);
  RETURN_IF_ERROR(CallTorch(fmt::format("mapping '{}'", map->name_), [&] {
    for (const auto& [key, source] : table) {
      at::Tensor tensor;
      if (IsFloating(source.view.type)) tensor = TensorOver(source.view, source.file);
      const void* bytes = source.view.data.data();
      if (tensor.defined() && source.transposed) {
        tensor = tensor.t().contiguous();
      } else if (tensor.defined() && tensor.const_data_ptr() == bytes &&
                 Inside(source.file->mapped(), source.view)) {
        map->mapped_.insert(bytes);
      }
      map->tensors_.emplace(key, std::move(tensor));
    }
  }));
  return map;
}

absl::StatusOr<std::unique_ptr<WeightMap>> WeightMap::Open(const std::string& path) {
  ASSIGN_OR_RETURN(std::shared_ptr<const TensorFile> file, TensorFile::Open(path));
  return OfTable(TableOf(file), path);
}

std::unique_ptr<WeightMap> WeightMap::Of(std::map<std::string, at::Tensor> tensors,
                                         std::string name) {
  std::unique_ptr<WeightMap> map(new WeightMap);
  map->name_ = std::move(name);
  map->tensors_ = std::move(tensors);
  return map;
}

bool WeightMap::HasPrefix(const std::string& prefix) const {
  const auto it = tensors_.lower_bound(prefix);
  return it != tensors_.end() && it->first.compare(0, prefix.size(), prefix) == 0;
}

std::vector<int64_t> WeightMap::ShapeOf(const std::string& key) const {
  const auto it = tensors_.find(key);
  if (it == tensors_.end() || !it->second.defined()) return {};
  return it->second.sizes().vec();
}

at::Tensor WeightMap::Take(const std::string& key, at::IntArrayRef shape) {
  asked_[key] = shape.vec();
  const auto it = tensors_.find(key);
  if (it == tensors_.end()) {
    AddError(fmt::format("'{}' is missing (expected shape {})", key, ShapeText(shape)));
    return {};
  }
  if (!it->second.defined()) {
    AddError(fmt::format("'{}' is not a floating-point tensor", key));
    return {};
  }
  if (it->second.sizes() != shape) {
    AddError(fmt::format("'{}' has shape {}, but config.json implies {}", key,
                         ShapeText(it->second.sizes()), ShapeText(shape)));
    return {};
  }
  return it->second;
}

void WeightMap::Release(const at::Tensor& tensor) const {
  // Only pages of a file may be dropped: a tensor that was misaligned in the file is a copy.
  if (!tensor.defined() || mapped_.count(tensor.const_data_ptr()) == 0) return;
  const auto begin = reinterpret_cast<uintptr_t>(tensor.const_data_ptr()),
             end = begin + tensor.nbytes();
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t first = (begin + page - 1) / page * page, last = end / page * page;
  // The pages are clean and the file stays: the kernel reads them again when asked. A refusal costs
  // memory only.
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

void WeightMap::AddError(std::string message) { errors_.push_back(std::move(message)); }

absl::Status WeightMap::Finish(const std::vector<std::string>& ignored_suffixes) const {
  std::vector<std::string> problems = errors_;
  for (const auto& [key, tensor] : tensors_) {
    if (asked_.count(key) != 0) continue;
    const bool ignored =
        std::any_of(ignored_suffixes.begin(), ignored_suffixes.end(), [&key = key](const auto& s) {
          return key.size() >= s.size() && key.compare(key.size() - s.size(), s.size(), s) == 0;
        });
    if (!ignored)
      problems.push_back(fmt::format("'{}' is there, but config.json has no such part", key));
  }
  if (problems.empty()) return absl::OkStatus();
  const size_t shown = std::min(problems.size(), kShownErrors);
  std::string message = fmt::format("weights in '{}' do not fit the model's config.json: {}", name_,
                                    fmt::join(problems.begin(), problems.begin() + shown, "; "));
  if (shown < problems.size()) message += fmt::format("; and {} more", problems.size() - shown);
  return InvalidArgument(message);
}

WeightReader WeightReader::operator/(std::string_view child) const {
  WeightReader reader = *this;
  reader.prefix_ += child;
  reader.prefix_ += '.';
  return reader;
}

WeightReader WeightReader::As(at::ScalarType dtype) const {
  WeightReader reader = *this;
  reader.dtype_ = dtype;
  return reader;
}

at::Tensor WeightReader::Get(std::string_view name, at::IntArrayRef shape) const {
  const at::Tensor tensor = weights_->Take(Key(name), shape);
  if (!tensor.defined()) return tensor;
  if (tensor.scalar_type() == dtype_ && tensor.device() == device_) {
    if (reinterpret_cast<uintptr_t>(tensor.const_data_ptr()) % kAlignment == 0) return tensor;
    at::Tensor moved = tensor.clone();
    weights_->Release(tensor);
    return moved;
  }
  if (const auto view = ViewOf(tensor); view.ok()) {
    const auto type = TensorTypeOf(dtype_);
    if (const auto problem = NotFinite(*view, type.ok() ? *type : view->type))
      weights_->AddError(fmt::format("'{}' {}", Key(name), *problem));
  }
  const auto options = at::TensorOptions().dtype(dtype_);
  at::Tensor copy;
  if (device_.is_cpu()) {
    copy = at::_to_copy(tensor, options);
  } else {
    // Cast into pinned memory, from where the device fetches it while the next weight is read; the
    // allocator of pinned memory takes it back when it has arrived.
    at::Tensor staged = at::empty(tensor.sizes(), options.pinned_memory(true));
    staged.copy_(tensor);
    copy = staged.to(device_, dtype_, /*non_blocking=*/true);
  }
  weights_->Release(tensor);
  return copy;
}

}  // namespace neolog::torch_support
