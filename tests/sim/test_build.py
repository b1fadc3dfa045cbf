from pathlib import Path

import pytest

from shifthw.sim.build import BuildFailed, Engine, build_simulator

COPIER = (Path(__file__).parent / "copier.v").read_text()


def test_a_second_build_is_the_first(simulator_cache: Path) -> None:
    def build(progress: list[int]) -> Path:
        return build_simulator({"copier.v": COPIER}, top="copier", engine=Engine.FAST, cache=simulator_cache,
                               progress=lambda done, of: progress.append(done))

    first, second = build([]), build(progress := [])
    assert first == second
    assert progress == []


def test_rejected_verilog_is_quoted_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed, match=r"broken\.v"):
        build_simulator({"broken.v": "module broken(input wire clk); assign nowhere; endmodule\n"}, top="broken",
                        engine=Engine.FAST, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []
