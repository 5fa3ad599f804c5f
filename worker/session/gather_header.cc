#include "worker/session/gather_header.h"

#include <fmt/format.h>

#include <bit>
#include <cstring>

namespace neolog::session {
namespace {

static_assert(std::endian::native == std::endian::little,
              "gather headers are written as they lie in memory");

constexpr uint32_t kMagic = 0x31474c4e;  // "NLG1"

template <typename T>
void Put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

template <typename T>
T Get(std::span<const std::byte> bytes, size_t offset) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}

void PutBlock(std::string& out, const std::string& block) {
  Put<uint64_t>(out, block.size());
  out += block;
}

/// Takes one block off the front; false when there is none.
bool TakeBlock(std::string_view& bytes, std::string_view& block) {
  if (bytes.size() < sizeof(uint64_t)) return false;
  uint64_t size;
  std::memcpy(&size, bytes.data(), sizeof(size));
  bytes.remove_prefix(sizeof(size));
  if (size > bytes.size()) return false;
  block = bytes.substr(0, size);
  bytes.remove_prefix(size);
  return true;
}

}  // namespace

void EncodeGatherHeader(const GatherHeader& header, std::string& out) {
  Put<uint32_t>(out, kMagic);
  Put<uint32_t>(out, static_cast<uint32_t>(header.runs.size()));
  Put<uint64_t>(out, header.roster_version);
  Put<uint64_t>(out, header.connected ? 1 : 0);
  for (const RunLine& run : header.runs) {
    Put<uint64_t>(out, run.step);
    Put<uint64_t>(out, run.hash);
    Put<uint64_t>(out, run.catch_up_bytes);
    Put<uint8_t>(out, run.control);
    Put<uint8_t>(out, static_cast<uint8_t>(run.left));
    out.append(6, '\0');
  }
}

absl::StatusOr<GatherHeader> DecodeGatherHeader(std::span<const std::byte> bytes, size_t runs,
                                                uint64_t roster_version) {
  if (bytes.size() < GatherHeaderSize(runs) || Get<uint32_t>(bytes, 0) != kMagic ||
      Get<uint32_t>(bytes, 4) != runs) {
    return Internal(fmt::format("a member's gather header is not one about {} runs", runs));
  }
  GatherHeader header;
  header.roster_version = Get<uint64_t>(bytes, 8);
  if (header.roster_version != roster_version) {
    return Internal(fmt::format("a member gathers under roster {}, this one under {}",
                                header.roster_version, roster_version));
  }
  header.connected = (Get<uint64_t>(bytes, 16) & 1) != 0;
  for (size_t i = 0; i < runs; ++i) {
    const size_t at = GatherHeaderSize(i);
    const auto left = Get<uint8_t>(bytes, at + 25);
    if (left > static_cast<uint8_t>(Left::kDiverged))
      return Internal("a member's gather header has an unknown reason for leaving");
    header.runs.push_back({.step = Get<uint64_t>(bytes, at),
                           .hash = Get<uint64_t>(bytes, at + 8),
                           .catch_up_bytes = Get<uint64_t>(bytes, at + 16),
                           .control = Get<uint8_t>(bytes, at + 24),
                           .left = static_cast<Left>(left)});
  }
  return header;
}

std::string EncodeCatchUp(const CatchUp& catch_up) {
  std::string out;
  PutBlock(out, catch_up.failure.SerializeAsString());
  for (const v1::CommitReport& piece : catch_up.pieces) PutBlock(out, piece.SerializeAsString());
  return out;
}

absl::StatusOr<CatchUp> DecodeCatchUp(std::string_view bytes) {
  CatchUp catch_up;
  std::string_view block;
  bool whole = TakeBlock(bytes, block) &&
               catch_up.failure.ParseFromArray(block.data(), static_cast<int>(block.size()));
  while (whole && !bytes.empty()) {
    v1::CommitReport piece;
    whole = TakeBlock(bytes, block) &&
            piece.ParseFromArray(block.data(), static_cast<int>(block.size()));
    catch_up.pieces.push_back(std::move(piece));
  }
  if (!whole || catch_up.pieces.empty())
    return Internal("a peer's state and records arrived damaged");
  return catch_up;
}

}  // namespace neolog::session
