# Compiler, linker, warnings, sanitizers, ccache: one place for flags.

set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(THREADS_PREFER_PTHREAD_FLAG ON)
# The same source must give the same bits in every build: no contraction of a*b+c into fma by the compiler.
add_compile_options(-ffp-contract=off)

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER AND NOT DEFINED ENV{CMAKE_CXX_COMPILER_LAUNCHER})
  # base_dir lets a clone in another folder share the cache; headers fresh from protoc may be cached too. pch_defines and
  # time_macros are what ccache needs to cache files that use a precompiled header.
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_BASEDIR=${CMAKE_SOURCE_DIR} CCACHE_NOHASHDIR=1
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${CCACHE_PROGRAM})
endif()

find_program(MOLD_PROGRAM mold)
if(MOLD_PROGRAM)
  add_link_options(-fuse-ld=mold)
endif()

if(NEOLOG_SANITIZE)
  add_compile_options(-fsanitize=${NEOLOG_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${NEOLOG_SANITIZE})
endif()

if(NEOLOG_FUZZ)
  # Coverage in every library, not only in the fuzz targets: without it libFuzzer is blind to what it reaches.
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()

# Warnings are errors for our code only: dependencies are SYSTEM includes.
add_library(neolog_warnings INTERFACE)
target_compile_options(neolog_warnings INTERFACE -Wall -Wextra -Werror -Wno-missing-field-initializers)
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(neolog_warnings INTERFACE -Wthread-safety -Werror=thread-safety)
else()
  # GCC 12 reports these inside the standard library's own inlined code (GCC bugs 105329, 105651).
  target_compile_options(neolog_warnings INTERFACE -Wno-restrict -Wno-stringop-overflow -Wno-array-bounds
                         -Wno-maybe-uninitialized -Wno-dangling-pointer)
endif()
