"""What was measured on a board, beside what the report expected: rows for the terminal and for the report page."""

from typing import Any

Row = tuple[str, str, str]
"""What it is, as measured, as predicted."""

TITLES = {"computation": "computation (running less idle with clock)",
          "computation_and_clock": "computation and clock (running less idle)"}


def measured_rows(m: dict[str, Any]) -> list[Row]:
    """Rows of the contents of measured.json. LookupError, TypeError or ValueError if they are not what
    measure.measure gives."""
    check, speed, energy = m["check"], m["bench"], m["energy"]
    predicted, latency = speed["predicted"], speed["latency_ms"]
    as_predicted = "" if speed["cycles_as_predicted"] else " (NOT as predicted in all runs)"
    rows = [
        ("board", f"{m['host']} ({speed['backend']}, {speed['clock_mhz']:.6g} MHz)", ""),
        ("bit-exact on golden vectors", f"{'yes' if check['bit_exact'] else 'no'}, {check['images']} images", ""),
        ("frames/s", f"{speed['frames_per_second']:,.0f}", f"{predicted['frames_per_second']:,.0f}"),
        ("frames/s with packing on the processor", f"{speed['frames_per_second_with_packing']:,.0f}", ""),
        (f"latency of a batch of {speed['images_per_batch']}",
         ", ".join(f"{name} {latency[name]:.4g} ms" for name in ("p50", "p90", "p99")),
         f"{predicted['latency_ms']:.4g} ms"),
        ("cycles per batch", f"{speed['cycles_per_batch']:,}{as_predicted}",
         f"{speed['cycles_per_batch_predicted']:,}"),
        ("waiting for the memory", f"{100 * speed['stall_share']:.2f} % of the cycles", ""),
    ]
    if energy is None:
        return [*rows, ("energy", f"not measured: {m['energy_failed'] or 'left out'}", "")]
    return [*rows, *_energy_rows(energy)]


def _energy_rows(energy: dict[str, Any]) -> list[Row]:
    predicted, total = energy["predicted"], energy["totals"]["accelerator"]
    model = f"{predicted['energy_mj_per_image']:.4g} ({predicted['energy_mark']}; {predicted['energy_units']})"
    how = f"{energy['rounds']} rounds, {energy['images']:,} images, from {energy['source']}; +- is 95 % confidence"
    rows = [("energy", how, "")]
    for key, title in TITLES.items():
        rows.append((f"mJ per image, {title}", "", ""))
        rows += [(f"- {rail['name']}", _spread(rail[key]["mj_per_image"]), "") for rail in energy["rails"]]
        rows.append((f"- accelerator: {', '.join(total['rails'])}", _spread(total[key]["mj_per_image"]), model))
    rows += [(rail["name"], _about(rail), "") for rail in energy["rails"]]
    return rows + [("warning", warning, "") for warning in energy["warnings"]]


def _about(rail: dict[str, Any]) -> str:
    return f"{rail['includes']}; {rail['readings_per_s']:.3g} readings/s, steps of {1e3 * rail['step_w']:.3g} mW"


def _spread(value: dict[str, float]) -> str:
    return f"{value['mean']:.4g} +- {value['ci95']:.2g}"
