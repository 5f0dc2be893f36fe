"""Random small networks of all layers that are served, as text and weights, from a seed."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from tests.support.tiny_networks import Array

CHANNELS = 2
HEADER = f'input: "data" input_shape {{ dim: 1 dim: {CHANNELS} dim: 64 dim: 64 }}\n'


class RandomNetwork:
    """Two to seven layers, one after the other, and a softmax or sigmoid of the last."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._dice = random.Random(seed)
        self._numbers = np.random.default_rng(seed)
        self._lines: list[str] = []
        self._top, self._channels = "data", CHANNELS
        self.weights: dict[str, list[Array]] = {}
        kinds: list[Callable[[str], None]] = [
            *(self._convolution, self._convolution, self._oblong, self._deconvolution),
            *(self._pooling, self._pooling, self._normalisation, self._scale, self._pointwise),
            *(self._pointwise, self._eltwise, self._concat, self._crop),
        ]
        for number in range(self._dice.randint(2, 7)):
            self._dice.choice(kinds)(f"layer{number}")
        self._add("last", self._dice.choice(["Softmax", "Softmax", "Sigmoid"]))

    @property
    def layers(self) -> str:
        return "\n".join(self._lines) + "\n"

    @property
    def text(self) -> str:
        return HEADER + self.layers

    def _add(self, name: str, kind: str, parameters: str = "", *, bottoms: str = "") -> None:
        bottoms = bottoms or f'bottom: "{self._top}"'
        self._lines.append(
            f'layer {{ name: "{name}" type: "{kind}" {bottoms} top: "{name}" {parameters} }}'
        )
        self._top = name

    def _normal(self, *shape: int) -> Array:
        return self._numbers.normal(0, 0.5, shape).astype(np.float32)

    def _convolution(self, name: str) -> None:
        kernel = self._dice.randint(1, 4)
        words = f"kernel_size: {kernel} stride: {self._dice.choice([1, 1, 2])}"
        words += f" pad: {self._dice.randint(0, 2)} dilation: {self._dice.choice([1, 1, 2])}"
        self._convolve(name, (kernel, kernel), words)

    def _oblong(self, name: str) -> None:
        rows, cols = self._dice.randint(1, 3), self._dice.randint(1, 3)
        words = f"kernel_h: {rows} kernel_w: {cols} stride_h: {self._dice.choice([1, 2])}"
        words += f" stride_w: 1 pad_h: {self._dice.randint(0, 2)} pad_w: 1"
        self._convolve(name, (rows, cols), words)

    def _convolve(self, name: str, kernel: tuple[int, int], words: str) -> None:
        group = self._dice.choice([1, 1, self._channels])
        outputs = group * self._dice.randint(1, 3)
        bias = self._dice.choice([True, False])
        words += f" num_output: {outputs} group: {group} bias_term: {str(bias).lower()}"
        self._add(name, "Convolution", f"convolution_param {{ {words} }}")
        kernels = self._normal(outputs, self._channels // group, *kernel)
        self.weights[name] = [kernels, self._normal(outputs)] if bias else [kernels]
        self._channels = outputs

    def _deconvolution(self, name: str) -> None:
        group = self._dice.choice([1, 1, self._channels])
        outputs, kernel = group * self._dice.randint(1, 2), self._dice.randint(1, 4)
        words = f"num_output: {outputs} group: {group} kernel_size: {kernel}"
        words += f" stride: {self._dice.randint(1, 2)} pad: {self._dice.randint(0, 1)}"
        words += f" dilation: {self._dice.choice([1, 1, 2])}"
        self._add(name, "Deconvolution", f"convolution_param {{ {words} }}")
        kernels = self._normal(self._channels, outputs // group, kernel, kernel)
        self.weights[name] = [kernels, self._normal(outputs)]
        self._channels = outputs

    def _pooling(self, name: str) -> None:
        kernel = self._dice.randint(1, 4)
        words = f"pool: {self._dice.choice(['MAX', 'AVE'])} kernel_size: {kernel}"
        words += f" stride: {self._dice.randint(1, 4)} pad: {self._dice.randint(0, kernel - 1)}"
        self._add(name, "Pooling", f"pooling_param {{ {words} }}")

    def _normalisation(self, name: str) -> None:
        words = self._dice.choice(["", "use_global_stats: false", "eps: 0.01"])
        self._add(name, "BatchNorm", f"batch_norm_param {{ {words} }}" if words else "")
        factor = np.array([self._dice.choice([0.0, 1.0, 20.0])], np.float32)
        variance = np.abs(self._normal(self._channels)) + np.float32(0.5)
        self.weights[name] = [self._normal(self._channels), variance, factor]

    def _scale(self, name: str) -> None:
        bias = self._dice.choice([True, False])
        self._add(name, "Scale", f"scale_param {{ bias_term: {str(bias).lower()} }}")
        self.weights[name] = [self._normal(self._channels) for _ in range(1 + bias)]

    def _pointwise(self, name: str) -> None:
        kind = self._dice.choice(["ReLU", "Sigmoid", "Dropout"])
        slope = self._dice.choice(["", "relu_param { negative_slope: 0.1 }"])
        self._add(name, kind, slope if kind == "ReLU" else "")

    def _eltwise(self, name: str) -> None:
        how = ("operation: PROD", "operation: MAX", "coeff: 1.5 coeff: -0.5", "operation: SUM")
        branches = self._branch(f"{name}a") + self._branch(f"{name}b")
        words = f"eltwise_param {{ {self._dice.choice(how)} }}"
        self._add(name, "Eltwise", words, bottoms=branches)
        self._channels = 2

    def _concat(self, name: str) -> None:
        branches = self._branch(f"{name}a") + self._branch(f"{name}b")
        axis = self._dice.choice([1, 1, 2, 3])
        self._add(name, "Concat", f"concat_param {{ axis: {axis} }}", bottoms=branches)
        self._channels = 4 if axis == 1 else 2

    def _crop(self, name: str) -> None:
        whole, like = f'bottom: "{self._top}" ', self._branch(f"{name}a", pad=0)
        words = f"crop_param {{ axis: 2 offset: {self._dice.randint(0, 2)} }}"
        self._add(name, "Crop", words, bottoms=whole + like)

    def _branch(self, name: str, *, pad: int = 1) -> str:
        """Add a convolution to two channels, beside what follows; return it as a bottom."""
        top = self._top
        words = f"num_output: 2 kernel_size: 3 pad: {pad}"
        self._add(name, "Convolution", f"convolution_param {{ {words} }}")
        self.weights[name] = [self._normal(2, self._channels, 3, 3), self._normal(2)]
        self._top = top
        return f'bottom: "{name}" '
