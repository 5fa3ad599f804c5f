#!/usr/bin/env bash
# Fuzzes every target of a build with the `fuzz` preset, from its committed corpus on: RUNS inputs (default 100000) or SECONDS
# (default 60) each, whichever comes first, by JOBS processes (default 1) that share what they find.
#   tests/fuzz/run_all.sh BUILD_DIR [RUNS [SECONDS [JOBS [TARGET...]]]]
# One line a target says how many inputs were tried and that none was bad; one that is bad is kept and makes this fail.
# Inputs that reach new code stay in the build folder, and the next run goes on from them.
set -euo pipefail

usage='usage: run_all.sh BUILD_DIR [RUNS [SECONDS [JOBS [TARGET...]]]], as in tests/fuzz/run_all.sh build/fuzz'
build=$(cd "${1:?$usage}" && pwd)
runs=${2:-100000}
seconds=${3:-60}
jobs=${4:-1}
here=$(cd "$(dirname "$0")" && pwd)
if [ $# -gt 4 ]; then
  names=("${@:5}")
else
  names=()
  for source in "$here"/*_fuzz.cc; do names+=("$(basename "$source" _fuzz.cc)"); done
fi
# Half of the time would go into stacks of allocations and freed memory that waits; a bad input is run again with both.
export ASAN_OPTIONS=malloc_context_size=1:quarantine_size_mb=16${ASAN_OPTIONS:+:$ASAN_OPTIONS}

# One process, as in fuzz SEED: its log is $work/SEED.log. 1 GB holds what the limits allow, with the sanitizer's own memory.
# The outer limit is for a target that hangs where libFuzzer's own cannot end it.
fuzz() {
  timeout -k 10 $((seconds + 120)) "$program" -runs=$(((runs + jobs - 1) / jobs)) -max_total_time="$seconds" -seed="$1" \
    -max_len="$longest" -entropic=0 -timeout=20 -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$work/" \
    "$work/corpus" "$corpus" >"$work/$1.log" 2>&1
}

bad=()
processes=()
trap 'kill "${processes[@]}" 2>/dev/null; exit 130' INT TERM
for name in "${names[@]}"; do
  program=$build/tests/fuzz/${name}_fuzz
  corpus=$here/corpus/$name
  work=$build/tests/fuzz/${name}_fuzz.work
  if [ ! -x "$program" ]; then
    echo "fuzz: $program is not there: cmake --preset fuzz && cmake --build --preset fuzz" >&2
    exit 2
  fi
  mkdir -p "$work/corpus"
  rm -f "$work"/*.log "$work"/{crash,leak,timeout,oom,slow-unit}-*  # of an earlier run
  # Longer inputs reach no other code and take longer: a prompt and a run file reach all of theirs at these lengths. A
  # model's keys do not: whole, they are 48 KB.
  case $name in
    tokenizer) longest=256 ;;
    yaml) longest=512 ;;
    checkpoint) longest=65536 ;;
    *) longest=4096 ;;
  esac
  printf 'fuzz: %-16s ' "$name"
  processes=()
  for ((seed = 1; seed <= jobs; ++seed)); do
    fuzz "$seed" & processes+=($!)
  done
  failed=''
  for ((seed = 1; seed <= jobs; ++seed)); do
    wait "${processes[seed - 1]}" || failed=${failed:-$seed}
  done
  if [ -z "$failed" ]; then
    read -r inputs took peak edges < <(cat "$work"/*.log | LC_ALL=C awk '
      /^Done [0-9]+ runs in / { inputs += $2; if ($5 > took) took = $5 }
      /^stat::peak_rss_mb:/ { if ($2 > peak) peak = $2 }
      match($0, / cov: [0-9]+/) { n = substr($0, RSTART + 6, RLENGTH - 6) + 0; if (n > edges) edges = n }
      END { print inputs + 0, took + 0, peak + 0, edges + 0 }')
    echo "ok: $inputs inputs in $took s, $edges places in the code reached, $peak MB"
  else
    bad+=("$name")
    log=$work/$failed.log
    echo "BAD: $(grep -aE '^SUMMARY:' "$log" | tail -n 1 || echo 'ended without a summary')"
    input=$(find "$work" -maxdepth 1 \( -name 'crash-*' -o -name 'leak-*' -o -name 'timeout-*' -o -name 'oom-*' \) | head -n 1)
    echo "  from $log:"
    { grep -aE -m 1 -A 20 'ERROR: |runtime error: ' "$log" || tail -n 20 "$log"; } | cut -c 1-200 | sed 's/^/    /'
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
