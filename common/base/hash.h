#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace neolog {

/// SHA-256 of bytes that arrive in pieces.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;
  void Update(std::string_view bytes);
  /// 64 lower-case hex digits. Call once, after the last Update.
  std::string HexDigest();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

/// 64 lower-case hex digits: the name of these bytes in the blob store.
std::string Sha256Hex(std::string_view bytes);

/// The first eight bytes of the SHA-256, little-endian: state hashes in gather headers and commits.
uint64_t Hash64(std::string_view bytes);

/// 64 random bits from the operating system: incarnations, run ids. Never used for training.
uint64_t RandomBits64();

}  // namespace neolog
