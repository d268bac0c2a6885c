"""Peak memory of the two losses on one process: python -m benchmarks.losses

Each figure is the growth of a fresh process over forward and backward pass, embeddings of 512 dimensions included.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys

import torch

from training.loop.loss import ContrastiveLoss, SigmoidLoss

LOSSES = ("softmax", "sigmoid")
DIMENSIONS = 512


def measure(name: str, pairs: int) -> float:
    """MiB by which this process grows."""
    keys = torch.arange(pairs)
    loss: ContrastiveLoss | SigmoidLoss
    if name == "softmax":
        loss, scale = ContrastiveLoss(), torch.tensor(10.0)
    else:
        loss, scale = SigmoidLoss(), torch.tensor([10.0, -10.0])
    small = torch.randn(8, DIMENSIONS, requires_grad=True)
    loss(small, small, scale, keys[:8], keys[:8]).backward()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    audio, text = (torch.randn(pairs, DIMENSIONS).requires_grad_() for _ in range(2))
    loss(audio, text, scale.requires_grad_(), keys, keys).backward()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description="Peak memory of the losses.")
    parser.add_argument("--pairs", type=int, nargs="+", default=[2_048, 4_096, 8_192])
    parser.add_argument("--one", choices=LOSSES, help="measure this loss at the first of --pairs, in this process")
    arguments = parser.parse_args()
    if arguments.one:
        print(f"{measure(arguments.one, arguments.pairs[0]):.0f}")
        return
    print("pairs  " + "".join(f"{name:>14}" for name in LOSSES))
    for pairs in arguments.pairs:
        found = []
        for name in LOSSES:
            command = [sys.executable, "-W", "ignore", "-m", "benchmarks.losses", "--one", name, "--pairs", str(pairs)]
            found.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
        print(f"{pairs:<7}" + "".join(f"{figure:>10} MiB" for figure in found))


if __name__ == "__main__":
    main()
