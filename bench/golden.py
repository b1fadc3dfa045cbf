"""Time of the integer golden model: `python -m bench.golden [MODEL] [IMAGES]` (resnet20, 10,000)."""

import sys
import time

import torch

from shifthw import zoo
from shifthw.ir import interpret
from shifthw.zoo.seeded import synthetic_images


def main() -> None:
    """Prints images, seconds and images per second."""
    name = sys.argv[1] if len(sys.argv) > 1 else "resnet20"
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    graph = zoo.build(name)
    images = synthetic_images(count, graph.nodes[0].output.shape, seed=5)
    start = time.perf_counter()
    interpret(graph, images)
    seconds = time.perf_counter() - start
    print(f"{name}: {count} images in {seconds:.1f} s on {torch.get_num_threads()} threads, "
          f"{count / seconds:.0f} images/s")


if __name__ == "__main__":
    main()
