"""Compile the kernels of every network into numba's cache while the image is built, so that a container starts with compiled kernels.

They are the same for every CPU that runs the image.
"""

# ruff: noqa: INP001 - a script for the image, in no package

from model.compiled import compiling
from model.registry import NETWORKS

if __name__ == "__main__":
    for network in NETWORKS:
        for _ in compiling(network):
            pass
