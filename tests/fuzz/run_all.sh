#!/usr/bin/env bash
# Fuzzes every target of a build with the `fuzz` preset, from its committed corpus on: RUNS inputs (default 100000) or SECONDS
# (default 60) each, whichever comes first.
#   tests/fuzz/run_all.sh BUILD_DIR [RUNS [SECONDS]]
# One line a target says how many inputs were tried and that none was bad; one that is bad is kept and makes this fail.
# Inputs that reach new code stay in the build folder, and the next run goes on from them.
set -euo pipefail

usage='usage: run_all.sh BUILD_DIR [RUNS [SECONDS]], as in tests/fuzz/run_all.sh build/fuzz'
build=${1:?$usage}
runs=${2:-100000}
seconds=${3:-60}
here=$(cd "$(dirname "$0")" && pwd)
bad=()
for source in "$here"/*_fuzz.cc; do
  name=$(basename "$source" .cc)
  program=$build/tests/fuzz/$name
  corpus=$here/corpus/${name%_fuzz}
  work=$build/tests/fuzz/$name.work
  if [ ! -x "$program" ]; then
    echo "fuzz: $program is not there: cmake --preset fuzz && cmake --build --preset fuzz" >&2
    exit 2
  fi
  mkdir -p "$work/corpus"
  rm -f "$work"/{crash,leak,timeout,oom,slow-unit}-*  # of an earlier run
  printf 'fuzz: %-22s ' "$name"
  # 1 GB holds what the limits allow, with the sanitizer's own memory; an input longer than 64 KB finds nothing new here.
  # The outer limit is for a target that hangs where libFuzzer's own cannot end it.
  if timeout -k 10 $((seconds + 120)) "$program" -runs="$runs" -max_total_time="$seconds" -seed=1 -max_len=65536 \
      -timeout=20 -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$work/" "$work/corpus" "$corpus" \
      >"$work/log" 2>&1; then
    done_line=$(grep -aE '^Done [0-9]+ runs' "$work/log" | tail -n 1 | sed -E 's/^Done ([0-9]+) runs in ([0-9]+) second.*/\1 inputs in \2 s/')
    edges=$(grep -aoE 'cov: [0-9]+' "$work/log" | tail -n 1 | cut -d' ' -f2)
    peak=$(sed -nE 's/^stat::peak_rss_mb: *//p' "$work/log")
    echo "ok: $done_line, ${edges:-no} places in the code reached, ${peak:-?} MB"
  else
    bad+=("$name")
    echo "BAD: $(grep -aE '^SUMMARY:' "$work/log" | tail -n 1 || echo 'ended without a summary')"
    input=$(find "$work" -maxdepth 1 \( -name 'crash-*' -o -name 'leak-*' -o -name 'timeout-*' -o -name 'oom-*' \) | head -n 1)
    echo "  from $work/log:"
    { grep -aE -m 1 -A 20 'ERROR: |runtime error: ' "$work/log" || tail -n 20 "$work/log"; } | cut -c 1-200 | sed 's/^/    /'
    if [ -n "$input" ]; then
      echo "  again: $program $input"
      echo "  once it is fixed: cp $input $corpus/, under a name that says what it is"
    fi
  fi
done
if [ ${#bad[@]} -ne 0 ]; then
  echo "fuzz: ${#bad[@]} bad: ${bad[*]}"
  exit 1
fi
echo "fuzz: nothing found"
