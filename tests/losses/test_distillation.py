"""Feature distillation: caught features, values by hand, and a student that learns."""

import pytest
import torch
from torch import nn

from isp.losses import FeatureDistillation, tap


def test_tap_catches_and_lets_go() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Sequential(nn.Conv2d(4, 2, 1)))
    x = torch.rand(1, 3, 5, 5)
    with tap(model, ["1", "2.0"]) as caught:
        y = model(x)
        assert torch.equal(caught["1"], model[0](x).relu())
        assert torch.equal(caught["2.0"], y)
        model(2 * x)
        assert torch.equal(caught["1"], model[0](2 * x).relu())
    before = caught["1"]
    model(3 * x)
    assert caught["1"] is before
    with pytest.raises(ValueError, match=r"no layer 'body' in Sequential; layers: 0, 1, 2, 2\.0"), tap(model, ["body"]):
        pass


def test_by_hand() -> None:
    loss = FeatureDistillation([1, 1], [2, 1])
    for adapter in loss.adapters:
        assert isinstance(adapter, nn.Conv2d)
        nn.init.ones_(adapter.weight)
        nn.init.zeros_(adapter.bias)  # type: ignore[arg-type]
    ones = torch.ones(2, 1, 4, 4)
    teacher = torch.cat([ones, 3 * ones], dim=1)  # mean square 5; error of 1 and 1: 0 and 4, mean 2
    value = loss([ones, 2 * ones], [teacher, 2 * torch.ones(2, 1, 8, 8)])  # the second is resized, and equal
    assert value.tolist() == pytest.approx([(2 / 5 + 0) / 2] * 2)


def test_scale_of_the_teacher_does_not_matter() -> None:
    torch.manual_seed(0)
    loss = FeatureDistillation([4], [4])
    nn.init.zeros_(loss.adapters[0].bias)  # type: ignore[arg-type]
    s, t = torch.rand(2, 2, 4, 6, 6)
    torch.testing.assert_close(loss([s], [t]), loss([100 * s], [100 * t]))


def test_student_learns_and_teacher_does_not() -> None:
    torch.manual_seed(0)
    student, loss = nn.Conv2d(3, 4, 1), FeatureDistillation([4], [8])
    x = torch.rand(2, 3, 8, 8)
    teacher = nn.Conv2d(3, 8, 1)(x)
    optimiser = torch.optim.Adam([*student.parameters(), *loss.parameters()], 0.02)
    first = loss([student(x)], [teacher]).mean().item()
    for _ in range(150):
        optimiser.zero_grad()
        value = loss([student(x)], [teacher]).mean()
        value.backward()
        optimiser.step()
    assert value.item() < 0.05 * first


def test_pairs_must_match() -> None:
    with pytest.raises(ValueError, match="got 2 of the student and 1 of the teacher"):
        FeatureDistillation([1, 2], [3])
