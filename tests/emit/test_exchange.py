import errno
import threading
from pathlib import Path

import pytest

from shifthw.emit import exchange as module
from shifthw.emit.exchange import exchange


def folders(tmp_path: Path) -> tuple[Path, Path, Path]:
    for name in ("folder", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "was").write_text(name)
    return tmp_path / "folder", tmp_path / "new", tmp_path / "old"


def refused(one: Path, other: Path) -> bool:
    """A system without the one step."""
    return False


@pytest.mark.parametrize("swap", [module._swap, refused], ids=["one step", "two steps"])
def test_new_stands_in_the_place_of_the_folder(swap: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_swap", swap)
    folder, new, old = folders(tmp_path)
    exchange(folder, new, old)
    assert (folder / "was").read_text() == "new"
    assert [(path / "was").read_text() for path in (new, old) if path.exists()] == ["folder"]


def test_without_a_folder_there_is_one_after(tmp_path: Path) -> None:
    _, new, old = folders(tmp_path)
    exchange(tmp_path / "absent", new, old)
    assert (tmp_path / "absent" / "was").read_text() == "new"
    assert not new.exists() and not old.exists()


def test_there_is_a_folder_at_every_moment(tmp_path: Path) -> None:
    folder, new, old = folders(tmp_path)
    if not module._swap(new, folder):
        pytest.skip("this file system does not exchange names")
    absent, done = [], threading.Event()

    def watch() -> None:
        while not done.is_set():
            if not folder.exists():
                absent.append(True)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(2000):
        exchange(folder, new, old)
    done.set()
    watcher.join()
    assert absent == []


def test_the_old_folder_comes_back_if_the_second_step_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_swap", refused)
    folder, new, old = folders(tmp_path)
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if path == new:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        exchange(folder, new, old)
    assert (folder / "was").read_text() == "folder"


def test_another_error_is_told(tmp_path: Path) -> None:
    folder, _, old = folders(tmp_path)
    with pytest.raises(OSError) as found:
        exchange(folder, tmp_path / "absent", old)
    assert found.value.errno == errno.ENOENT
    assert (folder / "was").read_text() == "folder"
