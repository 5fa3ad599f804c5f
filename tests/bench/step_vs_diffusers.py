"""Step time, start-up and peak memory of diffusers' textual-inversion step and of ours, alternately, on one machine.

    python step_vs_diffusers.py --model FOLDER --pictures FOLDER --precision fp32 bf16 \
        --ours 'build/release/bin/step_bench --model {model} --pictures {pictures} --precision {precision}
                --resolution {resolution} --batch {batch} --steps {steps} --threads {threads}'

Both sides print one JSON line {"step": n, "seconds": s} after every optimiser step and nothing else on standard output;
a side that encodes a picture only once says in "encoded" how many a step did. Start-up is the time from starting the
process to the beginning of its first step; first result that to the end of it; step time the median of the settled
steps: those after the first that encode nothing (so there must be more steps than pictures / batch); peak memory the
process's largest resident size, taken from the kernel when it ends. One JSON object with all figures and the ratios
(diffusers / ours) is printed at the end. Without --ours only diffusers is measured.
Needs tests/reference/requirements.txt.
"""

import argparse
import json
import os
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
THEIRS = f"{shlex.quote(sys.executable)} {shlex.quote(str(HERE / 'diffusers_step.py'))} " + (
    "--model {model} --pictures {pictures} --precision {precision} --resolution {resolution} --batch {batch} "
    "--steps {steps} --threads {threads}")


def measure(command: str, values: dict) -> dict:
    """Runs one side once. Raises with the end of its standard error when it fails."""
    words = [word.format(**values) for word in shlex.split(command)]
    began = time.monotonic()
    seconds, settled, start_up = [], [], None
    with tempfile.TemporaryFile("w+") as said, subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=said, text=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1"}) as process:
        for line in process.stdout:
            if not line.startswith("{"):
                continue
            step = json.loads(line)
            if start_up is None:
                start_up = time.monotonic() - began - step["seconds"]
            elif step.get("encoded", 0) == 0:
                settled.append(step["seconds"])
            seconds.append(step["seconds"])
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        errors = said.read()
    if process.returncode != 0 or not settled:
        raise SystemExit(f"{shlex.join(words)}\nexit status {process.returncode}, {len(seconds)} steps, {len(settled)} of them "
                         f"settled (take more steps than there are pictures); it said:\n{errors[-2000:]}")
    return dict(start_up_s=round(start_up, 3), first_result_s=round(start_up + seconds[0], 3),
                step_s=round(statistics.median(settled), 4),
                peak_memory_gb=round(usage.ru_maxrss * 1024 / 1e9, 3), steps_s=seconds)


def middle(runs: list[dict]) -> dict:
    """Medians over the rounds."""
    return {key: round(statistics.median(run[key] for run in runs), 4)
            for key in ("start_up_s", "first_result_s", "step_s", "peak_memory_gb")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--pictures", type=pathlib.Path, required=True)
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5, help="more than pictures / batch, and at least 2")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--ours", help="our command with {model}, {pictures}, {precision}, ... to be filled in")
    args = parser.parse_args()
    report = {}
    for precision in args.precision:
        values = dict(model=args.model, pictures=args.pictures, precision=precision, resolution=args.resolution,
                      batch=args.batch, steps=args.steps, threads=args.threads)
        runs: dict[str, list[dict]] = {"diffusers": [], "ours": []}
        for number in range(args.rounds):
            for side, command in (("diffusers", THEIRS), ("ours", args.ours)):
                if command:
                    runs[side].append(measure(command, values))
                    print(f"{precision} round {number + 1} {side}: {runs[side][-1]}", file=sys.stderr, flush=True)
        entry = {side: middle(done) for side, done in runs.items() if done}
        if args.ours:
            entry["ratio"] = {key: round(entry["diffusers"][key] / max(entry["ours"][key], 1e-9), 3)
                              for key in entry["ours"]}
        report[precision] = entry
    report["settings"] = dict(resolution=args.resolution, batch=args.batch, steps=args.steps, threads=args.threads,
                              rounds=args.rounds, cores=os.cpu_count())
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
