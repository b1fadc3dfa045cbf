"""Data flows one way, and so do imports: this table says which module may use which."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {"shifthw": ROOT / "shifthw", "shifthw.boards": ROOT / "boards", "shifthw.rtl": ROOT / "rtl",
           "shifthw.sim": ROOT / "sim"}

LEAVES = {"errors", "registers"}
HARDWARE = LEAVES | {"arch", "isa"}
MAY_USE: dict[str, set[str]] = {
    "errors": set(),
    "registers": set(),
    "arch": {"errors"},
    "isa": {"arch"},
    "rtl": HARDWARE,
    "boards": {"errors"},
    "ir": {"errors"},
    "tensor_layout": {"ir"},
    "quantize": {"errors", "ir"},
    "nn": {"errors", "ir", "quantize"},
    "frontend": {"errors", "ir", "nn", "quantize"},
    "sources": {"errors", "frontend", "ir", "nn", "quantize", "zoo"},
    "zoo": {"errors", "frontend", "ir", "nn", "quantize", ""},
    "image_files": {"errors"},
    "accuracy": {"frontend", "image_files", "ir"},
    "quantize_network": {"errors", "frontend", "ir", "nn", "sources"},
    "program": HARDWARE | {"ir", "tensor_layout"},
    "lower": HARDWARE | {"ir", "program", "tensor_layout"},
    "tile_loop": HARDWARE | {"program", "tensor_layout"},
    "emulator": HARDWARE | {"ir", "program", "tensor_layout", "tile_loop"},
    "emit": HARDWARE | {"boards", "emulator", "ir", "program", "rtl", "tensor_layout"},
    "sim": HARDWARE | {"ir", "program", "emulator", "tensor_layout"},
    "energy": HARDWARE | {"ir", "lower", "program"},
    "measure": {"errors"},
    "measured": set(),
    "report": {"boards", "energy", "errors", "ir", "program", "arch", "lower", "measured"},
}
"""Area -> areas that it may import. "" is `import shifthw` itself; flow and the command line may use everything."""
UNLIMITED = {"", "flow", "cli", "cli_board", "cli_energy", "cli_import", "cli_quantize", "cli_results", "cli_text"}


def modules() -> dict[str, Path]:
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            found[".".join(part for part in parts if part != "__init__")] = path
    return found


MODULES = modules()


def imports(name: str) -> set[str]:
    """The modules of this project that a module imports, at its top or inside functions."""
    path, found = MODULES[name], set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[:len(package.split(".")) - node.level + 1] if node.level else []
            target = ".".join([*base, *([node.module] if node.module else [])])
            found |= {f"{target}.{alias.name}" if f"{target}.{alias.name}" in MODULES else target
                      for alias in node.names}
    return found


def area(module: str) -> str:
    return (module.split(".") + [""])[1]


@pytest.mark.parametrize("name", MODULES)
def test_imports_follow_the_table(name: str) -> None:
    here = area(name)
    assert here in MAY_USE or here in UNLIMITED, f"{here} is not in the table"
    if here in UNLIMITED:
        return
    used = {area(module) for module in imports(name) if module.split(".")[0] == "shifthw"}
    assert used - {here} <= MAY_USE[here]


@pytest.mark.parametrize("name", MODULES)
def test_imports_are_explicit(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text())
    stars = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
             for alias in node.names if alias.name == "*"]
    assert stars == []


FILES = [*MODULES.values(), *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "bench").rglob("*.py")),
         *sorted((ROOT / "examples").rglob("*.py"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_mapped_folders_are_imported_by_their_package_names(path: Path) -> None:
    """`import rtl` works at the root of a checkout and makes second classes of the same name."""
    tops = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            tops |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            tops.add(node.module.split(".")[0])
    assert not tops & {"rtl", "sim", "boards"}


def test_there_is_no_cycle_in_the_table() -> None:
    order: list[str] = []
    while len(order) < len(MAY_USE):
        ready = [name for name, used in MAY_USE.items() if name not in order and used - {""} <= set(order)]
        assert ready, f"cycle among {set(MAY_USE) - set(order)}"
        order += ready
