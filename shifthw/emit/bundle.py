"""The output folder of a build: all of it or nothing, the same bytes for the same input, checked when read.

A build is one mapping path -> bytes. `manifest.json` beside those files holds their SHA-256 and marks the folder
as ours; a folder without it, or with anything else inside, is never touched.
"""

import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ..errors import OutputInTheWay, ShifthwError

FORMAT = "shifthw-build-1"
MANIFEST = "manifest.json"
DERIVED = ("sim.json", "simulator")
"""What `shifthw sim` adds to a build; replaced together with it."""


class BadBuild(ShifthwError):
    """The folder is not a build of this tool, or was changed since."""


def to_json(value: object) -> bytes:
    """JSON text as this project writes it: sorted keys, two spaces, one newline at the end."""
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def write_build(folder: Path, files: Mapping[str, bytes], about: Mapping[str, object]) -> None:
    """Makes `folder` hold exactly `files` (relative path -> bytes) and a manifest with `about`.

    Other processes see the old folder or the complete new one; a folder that already is this build stays as it
    is. OutputInTheWay, and nothing changed, if there is something at `folder` that this tool did not write.
    """
    check_replaceable(folder)
    manifest = {**about, "format": FORMAT, "files": {path: _digest(files[path]) for path in sorted(files)}}
    everything = {**files, MANIFEST: to_json(manifest)}
    if _holds(folder, everything):
        return
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(folder)
    scratch = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.{os.getpid()}-"))
    try:
        new = scratch / "new"
        _write_tree(new, everything)
        _exchange(folder, new, scratch / "old")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def read_build(folder: Path) -> dict[str, object]:
    """The manifest of a build whose files are all there and unchanged; BadBuild names the first that is not."""
    manifest = _manifest(folder)
    if manifest is None:
        raise BadBuild(f"{folder}: must be a folder that `shifthw build` wrote, it has no {MANIFEST}: build first")
    for path, digest in _digests(manifest).items():
        file = folder / path
        if not file.is_file():
            raise BadBuild(f"{folder}: {path} is missing: build again")
        if _digest(file.read_bytes()) != digest:
            raise BadBuild(f"{folder}: {path} was changed since the build: build again into another folder")
    return manifest


def check_replaceable(folder: Path) -> None:
    """OutputInTheWay unless `folder` is absent, empty, or a build with nothing of the user's inside."""
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir() or folder.is_symlink():
        raise OutputInTheWay(f"{folder}: the output must be a folder: choose another with -o")
    if not any(folder.iterdir()):
        return
    manifest = _manifest(folder)
    if manifest is None:
        raise OutputInTheWay(f"{folder}: must be absent, empty or an earlier build, it holds something else: "
                             "choose another folder with -o")
    digests = _digests(manifest)
    for file in sorted(path for path in folder.rglob("*") if not path.is_dir()):
        path = PurePosixPath(file.relative_to(folder)).as_posix()
        ours = path == MANIFEST or path.split("/")[0] in DERIVED
        if not ours and (path not in digests or _digest(file.read_bytes()) != digests[path]):
            raise OutputInTheWay(f"{folder}: {path} is not from the earlier build: move it, "
                                 "or choose another folder with -o")


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    return all((folder / path).is_file() and (folder / path).read_bytes() == data for path, data in files.items())


def _manifest(folder: Path) -> dict[str, object] | None:
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return None
    ours = isinstance(manifest, dict) and manifest.get("format") == FORMAT and isinstance(manifest.get("files"), dict)
    return manifest if ours else None


def _digests(manifest: dict[str, object]) -> dict[str, str]:
    files = manifest["files"]
    assert isinstance(files, dict)          # _manifest saw to it
    return files


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _write_tree(folder: Path, files: Mapping[str, bytes]) -> None:
    folder.mkdir()
    for path in sorted(files):
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as out:
            out.write(files[path])
            out.flush()
            os.fsync(out.fileno())
    for inner in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        _sync_folder(inner)


def _exchange(folder: Path, new: Path, old: Path) -> None:
    """Puts `new` in the place of `folder`; the old one comes back if that fails or is interrupted."""
    had_old = folder.exists()
    if had_old:
        folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        if had_old:
            old.rename(folder)
        raise
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_leftovers(folder: Path) -> None:
    """Clears what a killed build left beside `folder`; puts its old build back if it was killed in the exchange."""
    for scratch in folder.parent.glob(f".{glob.escape(folder.name)}.*-*"):
        owner = scratch.name.removeprefix(f".{folder.name}.").split("-")[0]
        if not owner.isdigit() or _alive(int(owner)):
            continue
        if (scratch / "old").is_dir() and not folder.exists():
            (scratch / "old").rename(folder)
        shutil.rmtree(scratch, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
