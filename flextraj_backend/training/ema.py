"""A moving average of the trained parameters, which often samples better than the last ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch


class MovingAverage:
    """Exponential moving average in float32; sharded parameters keep sharded averages.

    The first steps count more, so that the average is not stuck at the start: step n decays with
    min(decay, (1 + n) / (10 + n)).

    Args:
        parameters: by name; their present values are the start.
    """

    def __init__(self, parameters: Mapping[str, torch.Tensor], decay: float) -> None:
        self._parameters = dict(parameters)
        self._decay = decay
        self.steps = 0
        self.averages = {name: value.detach().clone() for name, value in parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the present values in, after an optimizer step."""
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        for name, average in self.averages.items():
            average.lerp_(self._parameters[name].detach(), 1 - decay)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Within, the parameters have the averaged values."""
        with torch.no_grad():
            trained = {name: value.detach().clone() for name, value in self._parameters.items()}
            self._assign(self.averages)
            try:
                yield
            finally:
                self._assign(trained)

    @torch.no_grad()
    def _assign(self, values: Mapping[str, torch.Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])
