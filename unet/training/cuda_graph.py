"""A training step as one CUDA graph."""

from collections.abc import Callable

import torch
from torch import Tensor

NUM_WARM_UP = 3  # steps: libraries choose their kernels, optimisers create their state

Inputs = tuple[Tensor | None, ...]


class StepGraph:
    """Records ``step`` with inputs of one shape and replays it with others of the same shape.

    https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture

    Args:
        step: called with ``inputs``; must not wait for the device or draw random numbers.
        tensors: returns all tensors that a step changes. The steps before recording are undone.
        learning_rate: the 0-d tensor that ``step`` reads.
    """

    def __init__(
        self, step: Callable[..., tuple[Tensor, ...]], tensors: Callable[[], list[Tensor]],
        inputs: Inputs, *, learning_rate: Tensor,
    ) -> None:  # fmt: skip
        self.inputs = tuple(None if x is None else x.clone() for x in inputs)
        self.learning_rate = learning_rate
        before = {id(tensor): tensor.detach().clone() for tensor in tensors()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(NUM_WARM_UP):
                step(*self.inputs)
        torch.cuda.current_stream().wait_stream(stream)
        with torch.no_grad():
            for tensor in tensors():
                # Optimiser state that the first step created starts as zeros in AdamW and Muon.
                tensor.copy_(before[id(tensor)]) if id(tensor) in before else tensor.zero_()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.outputs = step(*self.inputs)

    def replay(self, *inputs: Tensor | None, learning_rate: float) -> tuple[Tensor, ...]:
        """Run the step; returns its outputs, in the same tensors each time."""
        for mine, new in zip(self.inputs, inputs, strict=True):
            if mine is not None:
                mine.copy_(new)
        self.learning_rate.fill_(learning_rate)
        self.graph.replay()
        return self.outputs
