"""What the README tells a reader to type works. Blocks that simulate are slow."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader stands: the examples are there, results do not disturb the checkout."""
    path = tmp_path_factory.mktemp("reader")
    (path / "examples").symlink_to(ROOT / "examples")
    return path


def shell(commands: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-euc", commands], cwd=folder, env={**os.environ, "PATH": path}, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def blocks(language: str) -> list[str]:
    return [text for name, text in BLOCKS if name == language]


def test_every_block_is_known() -> None:
    assert {name for name, _ in BLOCKS} == {"sh", "python"}


@pytest.mark.slow
def test_the_simulated_board_works(folder: Path) -> None:
    if not (folder / "digits-zc706").exists():
        test_build_commands_work(folder)
    (block,) = (text for text in blocks("sh") if "shifthw serve" in text)
    assert "bit-exact: yes" in shell(block, folder)


def test_commands_on_the_board_are_the_drivers(folder: Path) -> None:
    if not (folder / "digits-zc706").exists():
        test_build_commands_work(folder)
    verbs = re.findall(r"^sudo python3 -B -m shifthw_driver (\w+)", README, re.MULTILINE)
    assert verbs == ["check", "run", "bench", "energy"]
    for verb in verbs:
        shell(f"python -B -m shifthw_driver {verb} --help", folder / "digits-zc706" / "driver")


def test_make_targets_exist() -> None:
    targets = re.findall(r"^make (\w+)$", README, re.MULTILINE)
    assert targets == ["demo", "test", "slow"]
    for target in targets:
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


def test_build_commands_work(folder: Path) -> None:
    block = next(text for text in blocks("sh") if "shifthw build" in text)
    printed = shell(block, folder)
    assert "written to digits-zc706" in printed
    assert printed.count("frames/s") == 2


@pytest.mark.slow
def test_simulation_commands_work(folder: Path) -> None:
    if not (folder / "digits-zc706").exists():
        test_build_commands_work(folder)
    block = next(text for text in blocks("sh") if "shifthw sim" in text)
    printed = shell(block, folder)
    assert printed.count("bit-exact: yes") == 2
    assert "accuracy: 9" in printed


def test_python_block_works(folder: Path) -> None:
    (code,) = blocks("python")
    (folder / "mine.py").write_text(code)
    shell("python mine.py && shifthw build mine.pt --board zc706 --array pixels=2,simd=4,pe=4,images=1 -o mine", folder)


def test_linked_files_exist() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
