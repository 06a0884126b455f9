#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Print parameters for RATECL_TUNING, drawn at random: random_tuning.py SEED. Odd seeds are of the CPUs' kernel set, even
ones of the GPUs'."""
import random
import sys

seed = int(sys.argv[1])
draw = random.Random(seed).choice


def of_cpu():
    while True:
        vector, across, down = draw([2, 4, 8, 16]), draw([1, 2, 3, 4]), draw([1, 2, 3, 4, 6, 8])
        width, tile = across * vector, draw([16, 24, 32, 48, 64, 96, 128])
        panels = [p for p in range(width, tile + 1, width) if tile % p == 0 and p % down == 0]
        if tile % width == 0 and tile % down == 0 and panels:
            break
    return {
        "sweep_vector": draw([2, 4, 8, 16]),
        "sweep_vectors": draw([1, 2, 3, 5]),
        "sweep_step": draw([1, 2, 3, 5, 8]),
        "gradient_step": draw([1, 2, 3, 4, 8]),
        "sweep_rows": draw([1, 7, 64, 100, 500]),
        "merge_vector": draw([2, 4, 8, 16]),
        "tile_vector": vector,
        "tile": tile,
        "across": across,
        "down": down,
        "depth": vector * draw([1, 2, 3, 4]),
        "panel": draw(panels),
        "chunk_steps": draw([1, 7, 100, 512]),
    }


def of_gpu():
    return {
        "sweep_lanes": draw([1, 2, 8, 32, 64]),
        "sweep_vector": draw([1, 2, 4, 8]),
        "sweep_step": draw([1, 2, 4, 8]),
        "gradient_step": draw([1, 2, 4]),
        "sweep_across": draw([1, 4, 16, 32]),
        "sweep_rounds": draw([1, 3, 16]),
        "gradient_rounds": draw([1, 5, 16]),
        "merge_lanes": draw([1, 2, 16, 64]),
        "merge_vector": draw([2, 4, 8]),
        "tile_lanes": draw([1, 4, 16, 64]),
        "tile": draw([16, 32, 64, 128]),
        "depth": draw([4, 8, 16]),
        "chunk_steps": draw([1, 7, 100, 256]),
    }


name, chosen = ("cpu", of_cpu()) if seed % 2 else ("gpu", of_gpu())
print(",".join([f"set={name}", *(f"{key}={value}" for key, value in chosen.items())]))
