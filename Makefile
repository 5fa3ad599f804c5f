# make demo and make test do everything, from a bare Debian 12 machine on. `make help` lists the rest.

JOBS ?= $(shell nproc)
# ctest's tests start processes of their own: two at a time keeps a small machine honest.
TEST_JOBS ?= 2
NVCC := $(firstword $(wildcard /usr/local/cuda/bin/nvcc) $(shell command -v nvcc 2>/dev/null))
export PATH := $(PATH):/usr/local/cuda/bin

.PHONY: help deps build demo test test-all test-gpu coordinator cuda format tidy clean

help:
	@echo 'make demo         build, then teach a tiny model a new word and show pictures of it (no GPU needed)'
	@echo 'make test         build, then every fast test, and the torch-free ones under ASan and UBSan'
	@echo 'make test-all     also the long tests, TSan, ASan with torch, thread-safety analysis, fuzzing'
	@echo 'make test-gpu     what needs a GPU: parity, repeatability, step times, NCCL; says so where there is none'
	@echo 'make build        the programs, in build/release/bin'
	@echo 'make coordinator  coordinator and CLI only, where no libtorch exists'
	@echo 'make cuda         the worker with its CUDA parts (needs the CUDA toolkit 13.0)'
	@echo 'make format       clang-format on every source file'
	@echo 'make tidy         clang-tidy on every source file (needs make build first)'

deps:
	@deploy/install-deps.sh

# preset(NAME): configure and build one preset of CMakePresets.json.
define preset
	cmake --preset $(1) --log-level=WARNING
	cmake --build --preset $(1) -j $(JOBS)
endef

build: deps
	$(call preset,release)

coordinator:
	@deploy/install-deps.sh
	$(call preset,coordinator)

cuda: deps
ifneq ($(NVCC),)
	$(call preset,cuda)
else
	@echo 'cuda: no nvcc here, the CUDA parts are not compiled'
endif

demo: build
	@configs/demo/run_demo.sh build/release/bin

test: build coordinator cuda
	$(call preset,asan)
	ctest --preset asan -j $(TEST_JOBS)
	ctest --preset release -j $(TEST_JOBS)

test-all: test
	$(call preset,tsan)
	ctest --preset tsan -j $(TEST_JOBS)
	$(call preset,thread-safety)
	$(call preset,fuzz)
	tests/fuzz/run_all.sh build/fuzz
	$(call preset,asan-torch)
	ctest --preset asan-torch -j $(TEST_JOBS)
	ctest --preset release-long

# Where there is no GPU its script ends with 77 before anything is fetched (3.5 GB) or built; make itself then ends with 2.
test-gpu:
	@tests/gpu/run_all.py --check
	@deploy/install-deps.sh --cuda
	$(call preset,gpu)
	tests/gpu/run_all.py --build build/gpu

format:
	git ls-files '*.cc' '*.h' | xargs clang-format -i

tidy:
	git ls-files '*.cc' | grep -v '^tests/' | xargs clang-tidy -p build/release --quiet

clean:
	rm -rf build
