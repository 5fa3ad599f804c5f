#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace neolog::judge {

using Colour = std::array<uint8_t, 3>;

/// An RGB picture, [height, width, 3], rows from the top.
struct Picture {
  int width = 0;
  int height = 0;
  std::vector<uint8_t> rgb;

  /// A picture of one colour.
  static Picture Filled(int width, int height, Colour colour);
  void Set(int x, int y, Colour colour);
  /// Fills a rectangle; what lies outside the picture is left out.
  void Fill(int x, int y, int fill_width, int fill_height, Colour colour);
  /// Copies `other` there, each pixel `scale` x `scale` large; what lies outside is left out.
  void Paste(const Picture& other, int x, int y, int scale);
  /// Writes text in a font of 5 x 7 pixels, `scale` times as large; letters appear as capitals.
  void Write(std::string_view text, int x, int y, int scale, Colour colour);
};

/// Width of a text that Write writes.
int TextWidth(std::string_view text, int scale);

/// Reads a PNG of at most 4,096 x 4,096 pixels; transparency is put on white. NotFound and DataLoss
/// name the file.
absl::StatusOr<Picture> ReadPng(const std::string& path);
/// Writes a PNG. FailedPrecondition names the file.
absl::Status WritePng(const Picture& picture, const std::string& path);

}  // namespace neolog::judge
