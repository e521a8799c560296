"""What a student learns from a teacher beside the truth.

From its output: any loss of isp.losses with the teacher's output in the place of the truth, for example
Loss({"l1": 1}, domain="encoded")(student_output, teacher_output).
From its features: FeatureDistillation, on what `tap` catches inside both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.hooks import RemovableHandle


@contextmanager
def tap(model: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """A dictionary that each forward pass of the model inside the block fills with the outputs of these layers.

    layers: names as model.named_modules() gives them; ValueError for another.
    """
    modules = dict(model.named_modules())
    for layer in layers:
        if layer not in modules:
            raise ValueError(
                f"no layer {layer!r} in {type(model).__name__}; layers: {', '.join(filter(None, modules))}"
            )
    caught: dict[str, Tensor] = {}

    def keep(name: str) -> RemovableHandle:
        return modules[name].register_forward_hook(lambda module, given, output: caught.__setitem__(name, output))

    handles = [keep(layer) for layer in layers]
    try:
        yield caught
    finally:
        for handle in handles:
            handle.remove()


class FeatureDistillation(nn.Module):
    """Features of a student and a teacher, in pairs, to B: the square error of the student's after a 1x1 convolution
    to the teacher's channels, in units of the teacher's mean square, averaged over the pairs.

    A. Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015, Sec. 2.2. Differs from the paper: relative to the
    teacher's mean square, so that one weight does for layers of any scale. The convolutions are trained with the
    student and thrown away. A teacher's feature of another size is resized, bilinearly, to the student's.

    students, teachers: the channels of each pair.
    """

    def __init__(self, students: Sequence[int], teachers: Sequence[int]) -> None:
        super().__init__()
        if len(students) != len(teachers) or not students:
            raise ValueError(
                f"features go in pairs; got {len(students)} of the student and {len(teachers)} of the teacher"
            )
        self.adapters = nn.ModuleList(nn.Conv2d(s, t, 1) for s, t in zip(students, teachers, strict=True))

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
        """student, teacher: B C h w each, in the order of the channels given; no gradient goes to the teacher."""
        losses = []
        for adapter, s, t in zip(self.adapters, student, teacher, strict=True):
            t = t.detach()
            if t.shape[2:] != s.shape[2:]:
                t = interpolate(t, s.shape[2:], mode="bilinear", antialias=True)
            error = (adapter(s) - t).square().mean((1, 2, 3))
            losses.append(error / (t.square().mean((1, 2, 3)) + 1e-12))
        return sum(losses[1:], losses[0]) / len(losses)
