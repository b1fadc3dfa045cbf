"""Shared leaf modules: a component that stands many times in an engine is emitted once.

Amaranth writes one Verilog module per instance; a library turns repeated components into Verilog
instances of one module. Without a library (unit tests) the same code places plain submodules.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

from amaranth.back import verilog
from amaranth.hdl import ClockDomain, ClockSignal, Instance, Module, ResetSignal, Value
from amaranth.lib import wiring

C = TypeVar("C", bound="SharedComponent")


class SharedComponent(wiring.Component):
    """A component with only plain signals as members and a name that tells its parameters."""

    @property
    def module_name(self) -> str:
        """Verilog module name; equal names mean equal hardware."""
        raise NotImplementedError


class ModuleLibrary:
    """Collects the shared components of an engine and emits each once."""

    def __init__(self) -> None:
        self._components: dict[str, SharedComponent] = {}

    def instance(self, component: SharedComponent) -> tuple[Instance, Any]:
        """A Verilog instance of `component` and an interface object with the component's members."""
        ports = component.signature.create(path=(component.module_name,))
        if self._components.setdefault(component.module_name, component) is not component:
            component._MustUse__used = True  # its equal is emitted instead: no warning that it is not
        connections = {
            f"{'i' if member.flow is wiring.In else 'o'}_{name}": getattr(ports, name)
            for name, member in component.signature.members.items()
        }
        connections |= {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        return Instance(component.module_name, **connections), ports

    def emit(self) -> dict[str, str]:
        """Verilog text by module name, sorted."""
        return {name: emit_module(self._components[name], name) for name in sorted(self._components)}


def place(
    m: Module, library: ModuleLibrary | None, names: Sequence[str], create: Callable[[], C]
) -> list[C]:
    """Puts one component per name into `m`: submodules, or with a library instances of one shared module."""
    if library is None:
        components = [create() for _ in names]
        for name, component in zip(names, components, strict=True):
            m.submodules[name] = component
        return components
    shared, placed = create(), []
    for name in names:
        m.submodules[name], ports = library.instance(shared)
        placed.append(cast(C, ports))
    return placed


def emit_module(component: wiring.Component, name: str) -> str:
    """Verilog of a component with clock and reset ports `clk` and `rst`, used or not."""
    m = Module()
    domain = ClockDomain("sync")
    m.domains += domain
    m.submodules.body = component
    ports = {"clk": (domain.clk, None), "rst": (domain.rst, None)}
    for path, _, value in component.signature.flatten(component):
        ports["_".join(map(str, path))] = (Value.cast(value), None)
    return str(verilog.convert(m, name=name, ports=ports, strip_internal_attrs=True, emit_src=False))
