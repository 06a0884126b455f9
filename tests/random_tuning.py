#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Print parameters for RATECL_TUNING, drawn at random: random_tuning.py SEED"""
import random
import sys

draw = random.Random(int(sys.argv[1])).choice
while True:
    vector, across, down = draw([2, 4, 8, 16]), draw([1, 2, 3, 4]), draw([1, 2, 3, 4, 6, 8])
    width, tile = across * vector, draw([16, 24, 32, 48, 64, 96, 128])
    panels = [p for p in range(width, tile + 1, width) if tile % p == 0 and p % down == 0]
    if tile % width == 0 and tile % down == 0 and panels:
        break
chosen = {
    "sweep_lanes": draw([1, 2, 3, 8, 32, 64]),
    "sweep_vector": draw([2, 4, 8, 16]),
    "sweep_vectors": draw([1, 2, 3, 5]),
    "sweep_step": draw([1, 2, 3, 5, 8]),
    "gradient_step": draw([1, 2, 3, 4, 8]),
    "sweep_rows": draw([1, 7, 64, 100, 500]),
    "merge_lanes": draw([1, 3, 16, 64]),
    "tile_lanes": draw([1, 2, 5, 16, 64]),
    "tile_vector": vector,
    "tile": tile,
    "across": across,
    "down": down,
    "depth": vector * draw([1, 2, 3, 4]),
    "panel": draw(panels),
    "chunk_steps": draw([1, 7, 100, 512]),
}
print(",".join(f"{name}={value}" for name, value in chosen.items()))
