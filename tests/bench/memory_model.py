#!/usr/bin/env python3
"""The estimated memory of training (common/checkpoint/memory_estimate.h) beside the measured peak on the CPU.

    tests/bench/memory_model.py --build build/release --model FOLDER --pictures FOLDER
                                [--resolution 256 512] [--microbatch 1 2 4] [--precision fp32 bf16]

Each case is a process of its own that takes three steps, the first of which encodes the pictures: give it a folder
with one. Its peak is the kernel's (VmHWM). Ends with 1 when an estimate is off by more than 15 %.
"""
import argparse
import json
import pathlib
import subprocess
import sys

MOST_OFF = 0.15


def peak_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0  # it has ended; the steps before said it


def measure(build, arguments, precision, side, samples):
    command = [build / "bin/step_bench", "--model", arguments.model, "--pictures", arguments.pictures, "--precision", precision,
               "--resolution", str(side), "--batch", str(samples), "--microbatch", str(samples), "--steps", "3",
               "--threads", str(arguments.threads), "--word", arguments.word]
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as bench:
        # The line of a step is written when it is over; the process is there until its last is read.
        for _ in bench.stdout:
            peak = max(peak, peak_bytes(bench.pid))
        errors = bench.stderr.read()
    if bench.returncode != 0:
        sys.exit(f"memory_model: {errors}")
    return peak


def estimate(build, arguments, precision, side, samples):
    told = subprocess.run([build / "bin/neolog", "model", "info", arguments.model, "--json", "--no-hashes", "--resolution", str(side)],
                          stdout=subprocess.PIPE, check=True)
    of = json.loads(told.stdout)["memoryEstimate"][precision]
    return of["weights"] + of["program"] + samples * of["perSample"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--model", required=True)
    parser.add_argument("--pictures", required=True)
    parser.add_argument("--word", default="<neolog>")
    parser.add_argument("--resolution", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--microbatch", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16", "fp16"), default=["fp32", "bf16"])
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    build = pathlib.Path(arguments.build)

    worst = 0
    print("precision  side  microbatch  estimated  measured    off")
    for side in arguments.resolution:
        for samples in arguments.microbatch:
            for precision in arguments.precision:
                guess = estimate(build, arguments, precision, side, samples)
                peak = measure(build, arguments, precision, side, samples)
                off = guess / peak - 1
                worst = max(worst, abs(off))
                print(f"{precision:9}  {side:4}  {samples:10}  {guess / 1e9:6.2f} GB  {peak / 1e9:5.2f} GB  {off:+5.1%}", flush=True)
    print(f"worst: {worst:.1%}")
    return 1 if worst > MOST_OFF else 0


if __name__ == "__main__":
    sys.exit(main())
