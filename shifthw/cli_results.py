"""What `build`, `sim`, `check`, `measure` and `report` print of their results."""

from typing import Any

from . import cli_energy
from .cli_text import Part, add_row, line, make_table, short

ARRAY = ("images", "pixels", "simd", "pe")


def report_parts(r: dict[str, Any]) -> list[Part]:
    from .report import RESOURCES
    marks, array = r["marks"], r["array"]
    layers = make_table("layer", "kind", "shape", "steps", "cycles", "lanes busy", "DRAM bytes", left=2)
    for row in r["layers"]:
        add_row(layers, row["name"], row["kind"], "x".join(map(str, row["shape"])), f"{row['steps']:,}",
             f"{row['cycles']:,}", f"{100 * row['lanes_busy']:.1f} %", f"{row['bytes_moved']:,}")
    add_row(layers, f"batch of {array['images']} ({marks['steps']})", "", "", f"{r['steps']:,}",
         f"{r['cycles_per_batch']:,}", f"{100 * r['lanes_busy']:.1f} %", f"{r['bytes_moved']:,}", style="bold")
    resources = make_table(f"resources ({marks['resources']})", "used", "of", "share")
    for name, title in RESOURCES.items():
        used, total = r["resources"][name]["used"], r["resources"][name]["total"]
        add_row(resources, title, f"{used:,.0f}", f"{total:,}", f"{100 * used / total:.1f} %")
    energy = make_table(*cli_energy.columns(r["energy"]), left=cli_energy.LEFT)
    for cells in cli_energy.rows(r["energy"]):
        add_row(energy, *cells, style=None if cells[1] else "bold")
    return [
        line(f"{r['model']} on {r['board_title']}: {' x '.join(f'{array[name]} {name}' for name in ARRAY)} = "
              f"{r['lanes']:,} lanes"),
        layers, resources, energy,
        line(f"cycles per image: {short(r['cycles_per_image'])} ({marks['cycles_per_image']})"),
        line(f"clock: {r['clock_mhz']:.6g} MHz ({marks['clock_mhz']})"),
        line(f"frames/s: {r['frames_per_second']:,.0f} ({marks['frames_per_second']}), "
              f"{r['latency_ms']:.3g} ms per batch ({marks['latency_ms']})")]


def sim_parts(s: dict[str, Any]) -> list[Part]:
    stalls = "" if s["stalls_seed"] is None else f", random stalls from seed {s['stalls_seed']}"
    parts: list[Part] = [line(f"simulated: {s['images']} images ({s['engine']} host{stalls})"),
                         line(f"bit-exact: {'yes' if s['bit_exact'] else 'no'}")]
    if mismatch := s["first_mismatch"]:
        parts.append(line(f"first mismatch: {mismatch['layer']}, image {mismatch['image']}, "
                           f"index {mismatch['index']}: expected {mismatch['expected']}, "
                           f"actual {mismatch['actual']}"))
    as_predicted = "as predicted" if s["cycles_as_predicted"] else f"NOT as predicted: {s['cycles_predicted']:,}"
    parts.append(line(f"cycles per image: {short(s['cycles_per_image'])} "
                       f"({s['cycles'] - s['stall_cycles']:,} in all, {as_predicted}; "
                       f"{s['stall_cycles']:,} more waiting for the memory)"))
    if s["accuracy"] is not None:
        parts.append(line(f"accuracy: {100 * s['accuracy']:.2f} %"))
    return parts


def measured_parts(m: dict[str, Any]) -> list[Part]:
    from .measured import measured_rows
    table = make_table("on the board", "measured", "predicted", left=2)
    for row in measured_rows(m):
        add_row(table, *row)
    return [table]


def check_parts(c: dict[str, Any]) -> list[Part]:
    from .accuracy import FAKE, FLOAT, INTEGER, MARKED_NOISE
    networks = (FLOAT, FAKE, INTEGER)
    accuracy = c["accuracy"] or {}
    summary = make_table("network", "accuracy", *(f"as {network}" for network in networks))
    for network in networks:
        shared = c["agreement"].get(network, {})
        add_row(summary, network, _share(accuracy.get(network)), *(_share(shared.get(other)) for other in networks))
    references = [network for network in networks if network in c["networks"] and network != INTEGER]
    layers = make_table("layer", *(f"dB to {network}" for network in references), "noise added",
                        "saturated", "integers used", "")
    for row in c["layers"]:
        add_row(layers, _layer(row), *(_decibels(row["snr_db"][name]) for name in references),
             _share(row["noise_added"]), _share(row["saturated"]),
             f"{row['smallest']}..{row['largest']} of {row['lo']}..{row['hi']}", "<-- noise" if row["marked"] else "",
             style="bold" if row["marked"] else None)
    parts: list[Part] = [line(f"{c['model']}: {c['images']:,} images"), summary,
                         line(f"activations of the integer network, on {c['layer_images']:,} images:"), layers]
    if not references:
        parts.append(line("the model file holds the integer network only: save it again to compare it with others"))
    elif not any(row["marked"] for row in c["layers"]):
        parts.append(line(f"no layer adds {100 * MARKED_NOISE:.1f} % noise against the {references[0]} network"))
    return parts


def _layer(row: dict[str, Any]) -> str:
    """What computes the activation: users know it better than their quantizers."""
    inputs = row["inputs"] or [row["name"]]
    return f"{inputs[0]} + residual" if len(inputs) > 1 else str(inputs[0])


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f} %"


def _decibels(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.1f}"
