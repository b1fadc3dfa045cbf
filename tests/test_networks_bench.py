"""bench.networks counts as papers do, and prints a row for what fits and for what does not."""

import dataclasses

import pytest

from bench.networks import COLUMNS, main, size
from shifthw import boards, zoo


def test_sizes() -> None:
    """MLPerf Tiny has 12.5 million of ResNet-8; its nine convolutions and its linear layer have 346 output channels."""
    assert size("resnet8", zoo.build("resnet8")).parameters == 77_360 + 346
    assert size("resnet8", zoo.build("resnet8")).macs == 12_501_632
    assert size("shift_resnet20", zoo.build("shift_resnet20")).parameters == 95_642


def test_rows(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The second network has no room on a board with little block RAM."""
    board = boards.load("ultra96v2")
    monkeypatch.setattr(boards, "load", lambda name: dataclasses.replace(board, bram36=40))
    main(["digits", "mobilenet_vww", "--boards", "ultra96v2", "--goals", "latency"])
    head, _, small, large = ([cell.strip() for cell in line.strip("|").split("|")]
                             for line in capsys.readouterr().out.splitlines())
    assert head == list(COLUMNS)
    assert small[:3] == ["digits", "1x8x8", "10,826"] and small[-1] == ""
    assert large[:2] == ["mobilenet_vww", "3x96x96"]
    features, weights = (int(number.replace(",", "")) for number in large[-1].split("+"))
    assert features > 96 * 96 * 3 and weights > 210_000 * 4 // 8
    assert int(large[8].replace(",", "")) > 7_489_664 / int(large[7].replace(",", ""))     # MACs by lanes
