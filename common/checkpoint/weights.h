#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/tensor_file/tensor_file.h"

namespace neolog {

/// Where one weight of a model lies.
struct WeightSource {
  /// The weight's bytes, of the shape that they are stored with.
  TensorView view;
  /// The weight is the view's transpose: OpenCLIP stores text_projection as [in, out].
  bool transposed = false;
  /// The key in its file.
  std::string key;
  /// Holds the bytes.
  std::shared_ptr<const TensorFile> file;

  /// The weight's own shape.
  std::vector<int64_t> Shape() const;
};

/// The weights of one part of a model, by the keys that diffusers gives them.
using WeightTable = std::map<std::string, WeightSource>;

/// Shapes by key.
using Shapes = std::map<std::string, std::vector<int64_t>>;

/// Every tensor of an open file under its own key.
WeightTable TableOf(const std::shared_ptr<const TensorFile>& file);

/// `index` of `count` equal slices of a view along its first dimension; its bytes are a part of
/// the view's. InvalidArgument when the dimension is not a multiple of `count`.
absl::StatusOr<TensorView> SliceOf(const TensorView& view, int64_t index, int64_t count);

/// The problem that `shapes`, what a configuration implies, and the weights do not agree, one
/// sentence a kind: keys that are missing (up to ten, those highest in the tree first) and shapes
/// that differ. A weight that differs in trailing ones only (a 1x1 convolution in place of a linear
/// layer or the other way) gets the shape that is expected: the bytes are the same. Keys that no
/// configuration asks for are moved from `weights` to `unexpected`.
std::vector<std::string> FitWeights(const Shapes& shapes, const std::string& part,
                                    WeightTable* weights, std::vector<std::string>* unexpected);

/// "12 below 'a.b.', 3 below 'c.'": keys counted by their first two levels, up to five of these.
std::string SummariseKeys(const std::vector<std::string>& keys);

}  // namespace neolog
