#!/usr/bin/env bash
# Gives every fuzz target of a build with the `fuzz` preset a number of executions, from its committed corpus on.
#   tests/fuzz/run_all.sh build/fuzz [RUNS]
# New inputs stay in the build folder; a crash leaves its input there as well and makes this fail.
set -euo pipefail

build=${1:?usage: run_all.sh BUILD_DIR [RUNS]}
runs=${2:-100000}
here=$(cd "$(dirname "$0")" && pwd)
status=0
for source in "$here"/*_fuzz.cc; do
  name=$(basename "$source" .cc)
  program=$build/tests/fuzz/$name
  work=$build/tests/fuzz/$name.work
  mkdir -p "$work/corpus"
  echo "fuzz: $name, $runs executions"
  # 1 GB holds what the limits allow, with the sanitizer's own memory; an input longer than 64 KB finds nothing new here.
  if ! "$program" -runs="$runs" -seed=1 -max_len=65536 -timeout=20 -rss_limit_mb=1024 -print_final_stats=1 \
      -artifact_prefix="$work/" "$work/corpus" "$here/corpus/${name%_fuzz}" >"$work/log" 2>&1; then
    echo "fuzz: $name FAILED; the last lines of $work/log:"
    tail -n 40 "$work/log"
    status=1
  else
    grep -E '^stat::(number_of_executed_units|peak_rss_mb)|^Done' "$work/log" | sed 's/^/  /'
  fi
done
exit $status
