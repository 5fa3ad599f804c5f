#!/usr/bin/env python3
"""Everything that needs a GPU, in one command with a time limit: `make test-gpu`.

Where no GPU is, says so and ends with 77. Otherwise prints what was found and ends with 1 when something is wrong:

  parity       the golden cases of the replay contract, computed on the device, against the reference
  repeatable   the same case twice on the device: the same bytes
  steps        step time, samples/s, achieved TFLOP/s and share of the device's peak, peak memory; without and with a
               CUDA graph
  regroup      from the SIGKILL of one of a run's workers to the next committed step
  reduction    the gathering of a step's gradients among 2 to N devices, ordered and fast

--rehearse runs all but parity and graphs on the CPU, with the fake libnccl in the place of the real one: it tests this script.
"""
import argparse
import ctypes
import itertools
import json
import math
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NO_GPU = 77
# One training step of one sample of SD 1.5 at 512 pixels, forward and backward, with cached posteriors; derived from its shapes,
# a multiplication and an addition counted as two.
SAMPLE_TFLOP = 1.748
# Dense TFLOP/s that the makers name: bf16 with float32 sums, and float32 without TF32.
PEAKS = {
    "B200": (2250, 75), "H200": (989, 67), "H100 PCIe": (756, 51), "H100": (989, 67), "A100": (312, 19.5),
    "L40S": (362, 91.6), "L4": (121, 30.3), "RTX 4090": (165, 82.6), "RTX 3090": (71, 35.6),
}


def find_gpus():
    """Names of the visible GPUs, or why there are none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return [], "no NVIDIA driver on this machine (libcuda.so.1 cannot be loaded)"
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return [], "the NVIDIA driver cannot be used (cuInit failed)"
    names = []
    for index in range(count.value):
        device, name = ctypes.c_int(), ctypes.create_string_buffer(256)
        driver.cuDeviceGet(ctypes.byref(device), index)
        driver.cuDeviceGetName(name, 256, device)
        names.append(name.value.decode())
    return names, "" if names else "the NVIDIA driver sees no GPU (CUDA_VISIBLE_DEVICES is "\
        f"'{os.environ.get('CUDA_VISIBLE_DEVICES', '')}')"


# A lease lasts one second, and processes may be slow to start; more is not a regroup.
MOST_REGROUP_SECONDS = 10


class OutOfTime(Exception):
    pass


class Runner:
    """Runs programs of one build until the time is up, and counts what is wrong."""

    def __init__(self, arguments, device):
        self.bin = os.path.join(arguments.build, "bin")
        self.build = arguments.build
        self.end = time.monotonic() + 60 * arguments.minutes
        self.device = device
        self.wrong = 0

    def run(self, *command, env=None):
        left = self.end - time.monotonic()
        if left <= 0:
            raise OutOfTime
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=left,
                                  env={**os.environ, **(env or {})}, check=False)
        except subprocess.TimeoutExpired:
            raise OutOfTime from None

    def program(self, name, *arguments):
        return self.run(os.path.join(self.bin, name), *arguments)

    def bad(self, text):
        self.wrong += 1
        return f"WRONG: {text}"


def last_line(text):
    lines = [line for line in text.strip().splitlines() if line.strip()]
    return lines[-1] if lines else "nothing said"


def parity(runner):
    for test in ("replay_golden_test", "replay_single_file_test"):
        done = runner.run("ctest", "--test-dir", runner.build, "-R", f"^{test}$", "--output-on-failure", "--timeout", "1200",
                          env={"NEOLOG_TEST_DEVICE": runner.device})
        if done.returncode == 0 and "100% tests passed" in done.stdout:
            print(f"parity       {test}: passed on {runner.device}")
        else:
            failed = [line for line in done.stdout.splitlines() if "Failure" in line or "FAILED" in line]
            print(f"parity       {test}: {runner.bad('; '.join(failed[:3]) or last_line(done.stdout + done.stderr))}")


def repeatable(runner, folder):
    golden = os.path.join(ROOT, "tests/golden/narrow_sd1")
    for dtype in ("fp32", "bf16", "fp16"):
        results = []
        for turn in (1, 2):
            out = os.path.join(folder, f"{dtype}{turn}.safetensors")
            done = runner.program("neolog-worker", "replay", "--model", os.path.join(golden, "model"), "--in",
                                  os.path.join(golden, "train.case.safetensors"), "--out", out, "--device", runner.device,
                                  "--dtype", dtype)
            if done.returncode != 0:
                print(f"repeatable   {dtype}: {runner.bad(last_line(done.stderr))}")
                break
            with open(out, "rb") as file:
                results.append(file.read())
        if len(results) == 2:
            same = results[0] == results[1]
            print(f"repeatable   narrow_sd1/train in {dtype}: {'the same bytes' if same else runner.bad('other bytes')}")


def steps(runner, arguments, model, name):
    print(f"steps        {arguments.resolution} px, on {name}\n"
          "             type   microbatch   graph   s/step   samples/s   TFLOP/s   of peak   peak memory")
    peak = next((value for key, value in PEAKS.items() if re.search(rf"\b{key}\b", name)), None)
    counts = arguments.resolution == 512 and not arguments.model
    pictures = len(os.listdir(arguments.pictures))
    expected = {}  # the states after every step, by precision and microbatch: a graph changes none
    graphs = ("off", "on") if runner.device.startswith("cuda") else ("off",)
    for precision, microbatch, graph in itertools.product(("bf16", "fp16", "fp32"), arguments.microbatches, graphs):
        row = f"             {precision:<6} {microbatch:>10}   {graph:>5}"
        total = math.ceil(pictures / microbatch) + arguments.steps
        done = runner.program("step_bench", "--model", model, "--pictures", arguments.pictures, "--word", arguments.word,
                              "--precision", precision, "--resolution", str(arguments.resolution), "--batch",
                              str(microbatch), "--microbatch", str(microbatch), "--steps", str(total), "--device",
                              runner.device, "--cuda-graph", graph)
        if done.returncode != 0:
            print(f"{row}   {runner.bad(last_line(done.stderr))}")
            continue
        times = [json.loads(line) for line in done.stdout.splitlines()]
        states = [step["state"] for step in times]
        if expected.setdefault((precision, microbatch), states) != states:
            print(f"{row}   {runner.bad('other states than without the graph')}")
            continue
        settled = [step["seconds"] for step in times[1:] if step["encoded"] == 0]
        seconds = statistics.median(settled)
        rate = microbatch / seconds
        flops = rate * SAMPLE_TFLOP
        memory = re.search(r"peak device memory ([0-9.]+) GB", done.stderr)
        share = f"{100 * flops / peak[precision == 'fp32']:.0f} %" if counts and peak else "-"
        print(f"{row}   {seconds:>6.3f}   {rate:>9.2f}   {f'{flops:.1f}' if counts else '-':>7}   {share:>7}   "
              f"{memory.group(1) + ' GB' if memory else '-':>11}")


class Cluster:
    """A local cluster of its own, with one run of the demo on two workers."""

    def __init__(self, runner, folder):
        self.runner = runner
        self.env = {"NEOLOG_STATE_DIR": folder, "NEOLOG_COORDINATOR": ""}
        self.out = os.path.join(folder, "out")

    def neolog(self, *arguments):
        return self.runner.run(os.path.join(self.runner.bin, "neolog"), *arguments, env=self.env)

    def train(self, device):
        return self.neolog("train", os.path.join(ROOT, "configs/demo/demo.yaml"), "--detach", "--workers", "2",
                           "--set", f"checkpoint.log_dir={self.out}", "--set", f"resources.device={device}",
                           "--set", "training.steps=20000", "--set", "preview.every_steps=0")

    def status(self):
        done = self.neolog("status", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def wait(self, what):
        while True:
            status = self.status()
            if what(status):
                return status
            time.sleep(0.02)


def step_of(status):
    return max((int(run.get("step", 0)) for run in status.get("runs", [])), default=0)


def roster_of(status):
    return max((int(run.get("roster", {}).get("version", 0)) for run in status.get("runs", [])), default=0)


def regroup(runner, devices, folder):
    if devices < 2:
        print("regroup      not measured: one GPU has no team")
        return
    state = os.path.join(folder, "cluster")
    os.mkdir(state, 0o700)
    cluster = Cluster(runner, state)
    try:
        done = cluster.train("cpu" if runner.device == "cpu" else "cuda")
        if done.returncode != 0:
            print(f"regroup      {runner.bad(last_line(done.stderr))}")
            return
        seconds = []
        for turn in range(3):
            # A step that the two of them took together.
            seen = step_of(cluster.status())
            status = cluster.wait(lambda s: step_of(s) > seen + 5 and all(
                len(run.get("roster", {}).get("members", [])) == 2 for run in s["runs"]))
            victim = status["workers"][turn % 2]
            before = roster_of(status)
            begin = time.monotonic()
            os.kill(int(victim["processId"]), signal.SIGKILL)
            # Steps of the old roster may be committed late: those count that come when the new one is known.
            seen = step_of(cluster.wait(lambda s: roster_of(s) > before))
            cluster.wait(lambda s: step_of(s) > seen)
            seconds.append(time.monotonic() - begin)
        text = f"two workers, one killed {len(seconds)} times: {statistics.median(seconds):.2f} s to new steps, at most {max(seconds):.2f} s"
        print(f"regroup      {text if max(seconds) < MOST_REGROUP_SECONDS else runner.bad(text)}")
    finally:
        # Also when the time is up.
        subprocess.run([os.path.join(runner.bin, "neolog"), "down", "-q"], env={**os.environ, **cluster.env}, timeout=60, check=False)


def reduction(runner, devices, libraries):
    if devices < 2:
        print("reduction    not measured: one GPU has nobody to gather from")
        return
    for ranks in range(2, devices + 1):
        for reduce in ("ordered", "fast"):
            done = runner.program("reduction_bench", str(ranks), "2000", "--over", "nccl", "--reduce", reduce, *libraries)
            text = done.stdout.strip() if done.returncode == 0 else runner.bad(last_line(done.stderr))
            print(f"reduction    {text}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="only say whether there is a GPU: 0, or 77")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, with the fake libnccl")
    parser.add_argument("--build", default=os.path.join(ROOT, "build/gpu"), help="a CUDA build with tests")
    parser.add_argument("--model", default="", help="a model to measure with; by default SD 1.5's sizes with random weights")
    parser.add_argument("--pictures", default=os.path.join(ROOT, "configs/demo/pictures/zesko"))
    parser.add_argument("--word", default="<neolog>", help="the placeholder; the model must not know it")
    parser.add_argument("--resolution", type=int, default=512)
    parser.add_argument("--microbatches", type=lambda text: [int(part) for part in text.split(",")], default=[1, 4, 8, 16])
    parser.add_argument("--steps", type=int, default=8, help="settled steps of each measurement")
    parser.add_argument("--minutes", type=float, default=30, help="what is not measured by then is said")
    arguments = parser.parse_args()

    names, why_not = (["the CPU", "the CPU"], "") if arguments.rehearse else find_gpus()
    if not names:
        print(f"test-gpu: {why_not}: nothing was run")
        return NO_GPU
    if arguments.check:
        print(f"test-gpu: {len(names)} GPU{'s' if len(names) != 1 else ''}: {', '.join(names)}")
        return 0

    runner = Runner(arguments, "cpu" if arguments.rehearse else "cuda:0")
    fake = os.path.join(arguments.build, "tests/worker/collective/nccl/libneolog_fake_nccl.so")
    libraries = ["--nccl-library", fake, "--cudart-library", fake] if arguments.rehearse else []
    with tempfile.TemporaryDirectory(prefix="neolog-test-gpu.") as folder:
        try:
            doctor = runner.program("neolog-worker", "doctor")
            for line in doctor.stdout.splitlines():
                print(f"doctor       {line}")
            if not arguments.rehearse:
                parity(runner)
            repeatable(runner, folder)
            reduction(runner, len(names), libraries)
            regroup(runner, len(names), folder)
            model = arguments.model
            if not model:
                model = os.path.join(folder, "sd15")
                written = runner.program("write_seeded_model", model)
                if written.returncode != 0:
                    print(f"steps        {runner.bad(last_line(written.stderr))}")
                    return 1
            steps(runner, arguments, model, names[0])
        except OutOfTime:
            print(f"test-gpu: {arguments.minutes:g} minutes are over; what is not above was not run")
            return 1
    print("test-gpu: nothing wrong" if runner.wrong == 0 else f"test-gpu: {runner.wrong} wrong")
    return 0 if runner.wrong == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
