"""The engine: what the host sees, in front of the core."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from shifthw.arch import ArrayConfig

from .axi import AxiLiteSignature, AxiSignature
from .core import Core
from .host_interface import HostInterface
from .module_library import ModuleLibrary


class Engine(wiring.Component):
    """A complete accelerator: AXI4-Lite registers in, AXI4 master out, one interrupt. Wiring only.

    Parameters
    ----------
    config : ArrayConfig
    library : ModuleLibrary or None

    Members
    -------
    s_axi : In(AxiLiteSignature())
    m_axi : Out(AxiSignature(config.axi_data_bits))
    irq : Out(1)
    """

    def __init__(self, *, config: ArrayConfig, library: ModuleLibrary | None = None) -> None:
        self.config = config
        self.library = library
        super().__init__({
            "s_axi": In(AxiLiteSignature()),
            "m_axi": Out(AxiSignature(config.axi_data_bits)),
            "irq": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.host = host = HostInterface(config=self.config)
        m.submodules.core = core = Core(config=self.config, library=self.library)
        wiring.connect(m, wiring.flipped(self.s_axi), host.s_axi)
        wiring.connect(m, host.m_axi, wiring.flipped(self.m_axi))
        m.d.comb += self.irq.eq(host.irq)
        # Each member of the core has its counterpart of the same name.
        for name, member in core.signature.members.items():
            source, sink = (core, host) if member.flow is Out else (host, core)
            m.d.comb += getattr(sink, name).eq(getattr(source, name))
        return m
