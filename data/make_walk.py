"""Make a price-like series whose next move depends on the last eight: a random walk with momentum.

    python data/make_walk.py > walk.csv

The next move is up with probability 1/2 + 0.4 tanh(m), m the sum of the last eight moves (+1, -1) divided by 4. What a
model that knows this needs, in bits a move, goes to standard error: the mean of the entropy of the next move over the
256 kinds of past, each as often as it comes, which is the limit of its chances from any start.
"""

import argparse
import sys

import numpy as np

MEMORY = 8
STEP = 0.001  # of the logarithm of the price


def chance_of_up(past: np.ndarray) -> np.ndarray:
    """After the moves in the bits of each number, (n,)."""
    moves = 2.0 * ((past[:, None] >> np.arange(MEMORY)) & 1) - 1
    return 0.5 + 0.4 * np.tanh(moves.sum(1) / 4)


def optimum(up: np.ndarray) -> float:
    """Bits a move, from the chances after each past (256,)."""
    pasts, share = np.arange(len(up)), np.full(len(up), 1 / len(up))
    for _ in range(10_000):
        after = np.zeros_like(share)
        for move, chance in ((1, up), (0, 1 - up)):
            np.add.at(after, (2 * pasts + move) % len(up), share * chance)
        share = after
    return float(-(share * (up * np.log2(up) + (1 - up) * np.log2(1 - up))).sum())


def main() -> None:
    """Write the series."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    up, rng = chance_of_up(np.arange(1 << MEMORY)), np.random.default_rng(options.seed)
    past, logarithm = int(rng.integers(1 << MEMORY)), 0
    print("day,price", f"0,{100:.6f}", sep="\n")
    for day, draw in enumerate(rng.random(options.moves), 1):
        move = int(draw < up[past])
        past, logarithm = (2 * past + move) % len(up), logarithm + 2 * move - 1
        print(f"{day},{100 * np.exp(STEP * logarithm):.8g}")
    print(f"{optimum(up):.4f} bits a move is the least that can be reached", file=sys.stderr)


if __name__ == "__main__":
    main()
