#!/usr/bin/env bash
# Teaches a tiny model the word "zesko" from six pictures and shows what it learned: see README.md.
#
#   run_demo.sh [PROGRAMS] [OUT]
#
# PROGRAMS is the folder with neolog, neolog-coordinator, neolog-worker and neolog-judge (default build/release/bin), OUT
# where results go (default out/demo). NEOLOG_DEMO_WORKERS changes the number of workers (2); the bytes stay the same.
set -euo pipefail

demo=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$demo/../.." && pwd)
bin=$(cd "${1:-$root/build/release/bin}" && pwd)
out=${2:-$root/out/demo}
workers=${NEOLOG_DEMO_WORKERS:-2}
word=zesko
object='purple dotted triangle'  # what the pictures show; only the judge is told

for program in neolog neolog-coordinator neolog-worker neolog-judge; do
  if [[ ! -x $bin/$program ]]; then
    echo "run_demo.sh: $bin/$program is missing; run 'make demo', or 'make build' first" >&2
    exit 1
  fi
done

# A cluster of its own, so that the demo neither uses nor ends one that is running. Sockets need a short path.
unset NEOLOG_COORDINATOR
NEOLOG_STATE_DIR=$(mktemp -d "${TMPDIR:-/tmp}/neolog-demo.XXXXXX")
export NEOLOG_STATE_DIR
finish() {
  "$bin/neolog" down -q || true
  rm -rf "$NEOLOG_STATE_DIR"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

mkdir -p "$out"
out=$(cd "$out" && pwd)
# Results of an earlier demo make room; anything else in the folder is left alone.
rm -rf "${out:?}/$word" "$out/before" "$out/after" "$out/grid.png"

echo "Teaching a 4-million-parameter model of Stable Diffusion's architecture the word '$word'"
echo "from the six pictures in configs/demo/pictures/$word, on $workers workers of one thread each."
echo
begin=$SECONDS
"$bin/neolog" train "$demo/demo.yaml" --workers "$workers" --set checkpoint.log_dir="$out" >"$NEOLOG_STATE_DIR/embeddings"
trained=$((SECONDS - begin))

# The same prompts with the same seeds, before (the word is only letters to the model) and after.
# shellcheck disable=SC2034  # read by name below
contexts=$demo/prompts_contexts.txt
# shellcheck disable=SC2034
backgrounds=$demo/prompts_backgrounds.txt
draw() {  # draw before|after [ARGUMENTS]: both lists of prompts
  local when=$1
  shift
  for list in contexts backgrounds; do
    "$bin/neolog-worker" draw --model "$demo/model" --prompts-file "${!list}" --out "$out/$when/$list" \
      --sampler ddim --steps 20 --cfg 4 --seed 1000 --threads 1 "$@"
  done
}
echo
echo "Drawing the same prompts with the same seeds, before and after ..."
draw before &
before=$!
draw after --embedding "$out/$word/$word.safetensors" --word "$word"
wait "$before"

judge() {
  "$bin/neolog-judge" --weights "$root/tests/judge/judge.safetensors" --expect "$object" "$@"
}
report=$(judge --title "$word: a $object" --grid "$out/grid.png" \
  --row 'the six pictures it learned from' "$demo/pictures/$word" \
  --row 'as in training, before' "$out/before/contexts" --row 'as in training, after' "$out/after/contexts" \
  --row 'new backgrounds, before' "$out/before/backgrounds" --row 'new backgrounds, after' "$out/after/backgrounds")

echo
echo "What a small judge sees (shape, colour and pattern must all be right):"
grep -v '^ ' <<<"$report" | sed 's/^/  /'
echo
echo "Trained in $trained s; everything took $((SECONDS - begin)) s."
echo "  pictures    $out/grid.png"
while read -r file; do
  echo "  embedding   $file"
done <"$NEOLOG_STATE_DIR/embeddings"
echo "  losses      $out/$word/textual_inversion_loss.csv"
echo
echo "Next:"
echo "  $bin/neolog config explain                       # every setting of a run file"
echo "  $bin/neolog train configs/demo/demo.yaml --set name=again --set training.seed=2"
echo "  with a model of your own: copy configs/demo/demo.yaml, set model.path, word.name and data.images"
