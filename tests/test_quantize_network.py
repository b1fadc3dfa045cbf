"""What is told about each layer of a network that is quantized."""

from pathlib import Path

import numpy as np

from shifthw.quantize_network import quantize_network

NETWORK = '''
import torch
from torch import nn


class Join(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.up = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.ConvTranspose2d(8, 2, 2, 2)

    def forward(self, x):
        return self.up(torch.cat([self.a(x), self.b(x)], 1))
'''


def test_layers_that_share_a_scale_each_tell_it(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(NETWORK)
    images = np.random.default_rng(1).integers(0, 256, (4, 3, 4, 4), dtype=np.uint8)
    rows = {row.name: row for row in quantize_network(f"{tmp_path / 'net.py'}:Join", images).layers}
    assert list(rows) == ["input", "a", "b", "up"]
    assert (rows["a"].activations, rows["a"].step) == (rows["b"].activations, rows["b"].step)
    assert [rows[name].weights for name in ("a", "b", "up")] == ["2 x 4 bits"] * 3
    assert rows["up"].step != rows["a"].step > 0
