# Every third-party library, as deploy/install-deps.sh installs it. The README's table says why each is here.

find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Protobuf REQUIRED)
find_package(absl REQUIRED)
find_package(spdlog REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(ZLIB REQUIRED)
find_package(PNG REQUIRED)
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)
pkg_check_modules(VIPS REQUIRED IMPORTED_TARGET vips)
find_package(SQLiteCpp REQUIRED)
find_package(SQLite3 REQUIRED)
if(NEOLOG_GRPC)
  find_package(gRPC REQUIRED)
endif()
if(NEOLOG_TESTS)
  find_package(GTest REQUIRED)
endif()

# Absl in Debian is compiled as C++14: absl::string_view is not std::string_view. Our interfaces use the std types.

if(DEFINED ENV{NEOLOG_DEPS_DIR})
  set(_deps_default $ENV{NEOLOG_DEPS_DIR})
elseif(DEFINED ENV{XDG_CACHE_HOME})
  set(_deps_default $ENV{XDG_CACHE_HOME}/neolog)
else()
  set(_deps_default $ENV{HOME}/.cache/neolog)
endif()
set(NEOLOG_DEPS_DIR ${_deps_default} CACHE PATH "Where deploy/install-deps.sh put libtorch and CLIP's merges file")

# Programs look for CLIP's merges file in ../share/neolog, beside the folder they are in (common/text/tokenizer.h).
if(EXISTS ${NEOLOG_DEPS_DIR}/clip/bpe_simple_vocab_16e6.txt.gz)
  file(COPY ${NEOLOG_DEPS_DIR}/clip/bpe_simple_vocab_16e6.txt.gz DESTINATION ${CMAKE_BINARY_DIR}/share/neolog)
endif()

if(NEOLOG_TORCH)
  set(_torch ${NEOLOG_DEPS_DIR}/libtorch-2.11.0)
  if(NOT EXISTS ${_torch}/lib/libtorch_cpu.so)
    message(FATAL_ERROR "libtorch 2.11.0 is not in ${_torch}: run deploy/install-deps.sh, or configure with the "
                        "'coordinator' preset, which does not need it")
  endif()
  # The wheel's include folder carries an old google/protobuf and fmt: -idirafter puts it behind the system's.
  # libtorch.so would pull in CUDA, so libtorch_cpu.so and libc10.so are named by path.
  # -fPIC and -pthread everywhere: GCC refuses a precompiled header that was made with other values of them.
  add_library(neolog_torch INTERFACE)
  target_compile_options(neolog_torch INTERFACE -fPIC -pthread)
  target_compile_options(neolog_torch INTERFACE "SHELL:-idirafter ${_torch}/include"
                         "SHELL:-idirafter ${_torch}/include/torch/csrc/api/include")
  target_link_libraries(neolog_torch INTERFACE ${_torch}/lib/libtorch_cpu.so ${_torch}/lib/libc10.so)
  # libtorch_cpu.so needs libcudart and libcupti at load even where no GPU exists; they lie beside it.
  target_link_options(neolog_torch INTERFACE "LINKER:-rpath,${_torch}/lib" "LINKER:--allow-shlib-undefined"
                      "LINKER:--disable-new-dtags")
  if(NEOLOG_CUDA)
    find_package(CUDAToolkit REQUIRED)
    target_compile_definitions(neolog_torch INTERFACE NEOLOG_WITH_CUDA=1)
    target_include_directories(neolog_torch SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
    # No symbol of libtorch_cuda.so is called by name: its kernels register themselves when it is loaded. One linker item, so
    # that nothing comes between and the library stays needed (cmake/CheckNeeded.cmake looks).
    target_link_libraries(neolog_torch INTERFACE
      "-Wl,--push-state,--no-as-needed,${_torch}/lib/libtorch_cuda.so,--pop-state" ${_torch}/lib/libc10_cuda.so CUDA::cudart)
  endif()
endif()
