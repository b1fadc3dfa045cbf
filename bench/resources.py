"""Resources of complete engines: Yosys counts against the tool's own estimate and the board.

    python -m bench.resources [MODEL:BOARD[:GOAL] ...]

For each pair (default: resnet20 and resnet8 on zc706 and ultra96v2) the array that `shifthw build` chooses is
emitted and synthesized by native Yosys (synth_xilinx, xc7 or xcup). Counts are exact for Yosys and an estimate of
Vivado's: no place and route. MODEL_reduced is a network's reduced form. Prints a Markdown table, one row as soon as it
is known.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from shifthw import boards, zoo
from shifthw.emit.verilog import engine_files, primitive_files
from shifthw.lower.explore import Budget, explore
from shifthw.lower.resources import Resources
from shifthw.report import RESOURCES

REDUCED = "_reduced"
DEFAULT = ("resnet20:zc706", "resnet8:zc706", "resnet20:ultra96v2", "resnet8:ultra96v2")


def synthesize(files: dict[str, str], family: str, *top_and_options: str) -> dict[str, dict[str, float]]:
    """Counts of an engine's files, in a process of its own; see bench.synthesis."""
    with tempfile.TemporaryDirectory() as folder:
        for name, text in files.items():
            (Path(folder) / name).write_text(text)
        run = subprocess.run([sys.executable, "-m", "bench.synthesis", family, folder, *top_and_options],
                             check=True, capture_output=True, text=True)
    result: dict[str, dict[str, float]] = json.loads(run.stdout)
    return result


def measure(model: str, board_name: str, goal: str) -> str:
    """One row of the table."""
    board = boards.load(board_name)
    budget = Budget(**{name: getattr(board, name) for name in RESOURCES}, clock_mhz=board.clock_mhz,
                    axi_data_bits=board.axi_data_bits, family=board.family)
    name = model.removesuffix(REDUCED)
    found = explore(zoo.build(name, reduced=name != model), budget, "latency" if goal == "latency" else "throughput")
    config = found.program.config
    counts = synthesize(engine_files(config) | primitive_files(config, board.family), board.family)["total"]
    array = f"{config.images}x{config.pixels}x{config.simd}x{config.pe}"
    cells = [model, board_name, goal, array, str(config.lanes), f"{counts['lut'] / config.lanes:.1f}"]
    for name in RESOURCES:
        cells.append(f"{counts[name]:g} ({counts[name] / getattr(board, name):.0%})")
        cells.append(_error(found.estimate, name, counts[name]))
    return "| " + " | ".join(cells) + " |"


def _error(estimate: Resources, name: str, count: float) -> str:
    """The estimate against the count, in per cent."""
    return f"{getattr(estimate, name) / count - 1:+.1%}" if count else f"{getattr(estimate, name):g}"


def main() -> None:
    """Prints the table."""
    head = ["model", "board", "goal", "array", "lanes", "LUT per lane"]
    head += [title for name in RESOURCES for title in (name.upper(), "estimate")]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head), flush=True)
    for pair in sys.argv[1:] or DEFAULT:
        model, board, *goal = pair.split(":")
        print(measure(model, board, goal[0] if goal else "throughput"), flush=True)


if __name__ == "__main__":
    main()
