"""Networks with spatial shifts in place of convolutions, before quantization.

    python examples/train_float.py ssl_shift_resnet20 --data cifar-10-python.tar.gz --out shift_float.pt
"""

from shifthw.zoo.shift_resnet import SparseShiftResNet


def ssl_shift_resnet20() -> SparseShiftResNet:
    """ShiftResNet-20 with sparse shift layers and expansion 3: 16.4 million multiply-adds."""
    return SparseShiftResNet(form=None)
