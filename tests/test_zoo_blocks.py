"""Blocks of the zoo's shift family against their definitions."""

import torch
from torch.nn import functional

from shifthw.zoo.address_net import AddressModule, EnhancedModule, ReductionModule
from shifthw.zoo.as_resnet import ActiveBlock
from shifthw.zoo.blocks import Unit, convolution
from shifthw.zoo.fe_net import FEBlock
from shifthw.zoo.shiftnet import ConvShiftConv, ShiftBlock

from .calibrated import calibrated


def test_shift_block_has_no_relu_behind_its_sum() -> None:
    block = ShiftBlock(6, 6, 1, 3)
    x, y = calibrated(Unit(3, 6, function=None), block)
    with torch.no_grad():
        branch = block.reduce(block.shift(block.expand(x)))
        assert torch.equal(y, block.act(branch + x))
    assert float(branch.min()) == 0
    assert float(y.min()) < 0


def test_shortcuts_of_shiftnet() -> None:
    """Added with stride 1, otherwise averaged behind the channels of the convolution, or left out."""
    for outputs, stride, appended in ((5, 1, True), (9, 2, True), (9, 2, False)):
        module = ConvShiftConv(5, outputs, stride, 2, 3, appended)
        x, y = calibrated(Unit(3, 5, function=None), module)
        with torch.no_grad():
            branch = module.reduce(module.shift(module.expand(module.before(x))))
            if stride == 1:
                expected = branch + x
            elif appended:
                expected = torch.cat([branch, functional.avg_pool2d(x, 3, 2, 1)], dim=1)
            else:
                expected = branch
            assert torch.equal(y, module.act(expected))
        assert y.shape == (2, outputs, 8 // stride, 8 // stride)


def test_shortcut_of_an_active_block_leaves_before_or_behind_its_batch_norm() -> None:
    for outputs, stride in ((5, 1), (7, 2)):
        block = ActiveBlock(5, outputs, stride)
        x, y = calibrated(convolution(3, 5), block)
        with torch.no_grad():
            total = block.sum(x)
            branch = block.conv2(block.shift(block.conv1(block.before(total))))
            shortcut = total if stride == 1 else block.shortcut_act(block.shortcut(block.before(total)))
            assert torch.equal(y, branch + shortcut)
        assert block.shift.stride == (stride, stride)
        assert y.shape == (2, outputs, 8 // stride, 8 // stride)


def test_parts_of_an_fe_block() -> None:
    """The last channels pass all units, the first half only the last one."""
    stem = Unit(3, 8, function=None)
    block = FEBlock(8, 8, 3, stem.activation.act, pool=False, squeeze=False)
    x, y = calibrated(stem, block)
    with torch.no_grad():
        one = block.units[0](x[:, 7:])
        two = block.units[1](torch.cat([x[:, 6:7], one], dim=1))
        four = block.units[2](torch.cat([x[:, 4:6], two], dim=1))
        assert torch.equal(y, block.last(torch.cat([x[:, :4], four], dim=1)))
    assert all(unit.act is stem.activation.act for unit in block.units)


def test_address_modules() -> None:
    """The plain one adds its input; the enhanced one keeps its input's second half and puts the branch behind it."""
    stem = Unit(3, 12)
    plain, enhanced = AddressModule(12), EnhancedModule(12, stem.activation.act)
    x, kept, added = calibrated(stem, enhanced, plain)
    with torch.no_grad():
        assert torch.equal(kept, torch.cat([x[:, 6:], stem.activation.act(enhanced.branch(x).clamp(min=0))], dim=1))
        assert torch.equal(added, plain.act((plain.branch(kept) + kept).clamp(min=0)))


def test_reduction_module_halves_the_map() -> None:
    module = ReductionModule(12)
    x, y = calibrated(Unit(3, 12), module)
    with torch.no_grad():
        both = torch.cat([functional.avg_pool2d(x, 3, 2, 1), module.branch(x).clamp(min=0)], dim=1)
        assert torch.equal(y, module.act(both))
    assert y.shape == (2, 24, 4, 4)
