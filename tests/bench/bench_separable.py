"""Mixed-factor down-up of a batch: our batched products against kornia's resize, sample by sample, in one run.

    python tests/bench/bench_separable.py [--batch 128] [--size 96] [--channels 1] [--runs 20] [--device cpu]

Writes the median time of each with its spread (quartiles), their ratio, and the largest difference of the results.
"""

import argparse
import math
import statistics
import sys
import time

import torch
from kornia.geometry.transform import resize

from blear.separable import down_up_bank

FACTORS = (3, 4, 6, 8, 12, 16)


def kornia_down_up(frames, index):
    """What a loop over the samples does; kornia's antialias is a Gaussian before a resize, not a widened kernel."""
    size = tuple(frames.shape[-2:])
    done = []
    for sample, k in zip(frames, index.tolist(), strict=True):
        small = tuple(math.ceil(side / FACTORS[k]) for side in size)
        done.append(resize(resize(sample, small, "bicubic", antialias=True), size, "bicubic"))
    return torch.stack(done)


def torch_down_up(frames, index):
    """The reference that our matrices are made from, sample by sample."""
    size = tuple(frames.shape[-2:])
    done = []
    for sample, k in zip(frames, index.tolist(), strict=True):
        small = tuple(math.ceil(side / FACTORS[k]) for side in size)
        for shape in (small, size):
            sample = torch.nn.functional.interpolate(sample, shape, mode="bicubic", antialias=True)
        done.append(sample)
    return torch.stack(done)


def quartiles_ms(run, runs, device):
    """Lower quartile, median, upper quartile of `runs` timed calls after two warm ones."""
    times = []
    for turn in range(runs + 2):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        if turn >= 2:
            times.append((time.perf_counter() - start) * 1e3)
    return statistics.quantiles(times, n=4)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("batch", 128), ("size", 96), ("channels", 1), ("runs", 20)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    options = parser.parse_args()
    torch.manual_seed(0)
    frames = torch.rand(options.batch, 1, options.channels, options.size, options.size, device=options.device)
    index = torch.randint(len(FACTORS), (options.batch,), device=options.device)
    bank = down_up_bank(FACTORS, options.size, options.size)
    write = sys.stdout.write
    write(f"{options.batch} x {options.channels} x {options.size} x {options.size}, factors {FACTORS}, ")
    write(f"{options.device}, {torch.get_num_threads()} threads, {options.runs} runs\n")
    medians = {}
    arms = {"blear": lambda: bank(frames, index)}
    arms["torch, by sample"] = lambda: torch_down_up(frames, index)
    arms["kornia, by sample"] = lambda: kornia_down_up(frames, index)
    for name, run in arms.items():
        low, medians[name], high = quartiles_ms(run, options.runs, options.device)
        write(f"{name:18} median {medians[name]:9.3f} ms  (quartiles {low:.3f} to {high:.3f})\n")
    for name in ("torch, by sample", "kornia, by sample"):
        write(f"ratio to {name}: {medians[name] / medians['blear']:.1f}\n")
    difference = (bank(frames, index) - torch_down_up(frames, index)).abs().max().item()
    write(f"largest difference from torch: {difference:.1e}\n")


if __name__ == "__main__":
    main()
