"""Any choice of channels."""

import pytest
import torch

from shifthw.nn import SelectChannels


@pytest.mark.parametrize("shape", [(2, 4), (2, 4, 3, 5)])
def test_channels_are_found_by_number(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    layer = SelectChannels(torch.tensor([3, 0, 0]))
    assert torch.equal(layer(x), torch.stack([x[:, 3], x[:, 0], x[:, 0]], dim=1))
    assert str(layer) == "SelectChannels(3)" and not layer.state_dict()


@pytest.mark.parametrize("channels", [torch.zeros(0, dtype=torch.int64), torch.zeros(2), torch.tensor([-1]),
                                      torch.tensor([[0]])], ids=["none", "real", "negative", "table"])
def test_what_are_no_channels(channels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="SelectChannels: channels must be int64, one dimension"):
        SelectChannels(channels)
