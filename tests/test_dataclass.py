"""Our quick dataclasses beside Python's."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, field, fields, replace
from typing import Any

import pytest

from isp.dataclass import dataclass


def declared(decorator: Callable[..., Any], eq: bool) -> Any:
    class Point:
        """Two numbers and more."""

        x: float
        y: float = 2.0
        names: tuple[str, ...] = field(default_factory=tuple)

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError(f"x is {self.x}; expected 0 or more")

        @property
        def double(self) -> float:
            return 2 * self.x

    return decorator(frozen=True, eq=eq)(Point)


@dataclass(frozen=True)
class Kept:
    x: float
    y: float = 2.0


ours, theirs = declared(dataclass, True), declared(dataclasses.dataclass, True)
CALLS: list[Callable[[Any], Any]] = [
    lambda cls: cls(1.0),
    lambda cls: cls(1.0, 3.0, ("a",)),
    lambda cls: cls(y=3.0, x=1.0),
    lambda cls: replace(cls(1.0), y=4.0),
    lambda cls: asdict(cls(1.0, names=("a", "b"))),
    lambda cls: cls(1.0).double,
    lambda cls: [(f.name, f.type) for f in fields(cls)],
    lambda cls: cls(1.0) == cls(1.0, 2.0),
    lambda cls: cls(1.0) == cls(1.0, 3.0),
    lambda cls: cls(1.0) == (1.0, 2.0, ()),
    lambda cls: hash(cls(1.0)) == hash(cls(1.0, 2.0)),
    lambda cls: {cls(1.0): "a"}[cls(1.0)],
    lambda cls: [(p.name, p.kind, p.annotation) for p in inspect.signature(cls).parameters.values()],
    lambda cls: [p.default for p in inspect.signature(cls).parameters.values()][:2],
    lambda cls: cls.__match_args__,
    lambda cls: copy.deepcopy(cls(1.0, names=("a",))),
    lambda cls: dataclasses.is_dataclass(cls),
]


@pytest.mark.parametrize("call", CALLS, ids=[str(i) for i in range(len(CALLS))])
def test_what_it_gives_is_what_pythons_give(call: Callable[[Any], Any]) -> None:
    assert repr(call(ours)) == repr(call(theirs))


MISTAKES: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    (lambda cls: cls(), TypeError, "missing .*'x'"),
    (lambda cls: cls(y=1.0), TypeError, "missing .*'x'"),
    (lambda cls: cls(1.0, z=1), TypeError, "unexpected keyword argument 'z'"),
    (lambda cls: cls(1.0, x=1.0), TypeError, "multiple values for argument 'x'"),
    (lambda cls: cls(1, 2, (), 4), TypeError, "takes .* given"),
    (lambda cls: cls(-1.0), ValueError, "x is -1.0"),
    (lambda cls: replace(cls(1.0), x=-1.0), ValueError, "x is -1.0"),
    (lambda cls: replace(cls(1.0), z=1.0), TypeError, "unexpected keyword argument 'z'"),
    (lambda cls: setattr(cls(1.0), "x", 2.0), FrozenInstanceError, "cannot assign to field 'x'"),
    (lambda cls: delattr(cls(1.0), "x"), FrozenInstanceError, "cannot delete field 'x'"),
]


@pytest.mark.parametrize("number", range(len(MISTAKES)))
@pytest.mark.parametrize("cls", [ours, theirs], ids=["ours", "theirs"])
def test_what_is_wrong_is_said_alike(number: int, cls: Any) -> None:
    call, error, text = MISTAKES[number]
    with pytest.raises(error, match=text):
        call(cls)


def test_without_eq_each_is_itself() -> None:
    cls = declared(dataclass, False)
    one = cls(1.0)
    assert len({one, one, cls(1.0)}) == 2
    assert one != cls(1.0)


class More(Kept):
    def __init__(self, z: int) -> None:
        super().__init__(float(z))
        self.z = z


def test_classes_that_are_made_of_it() -> None:
    """As of Python's: what is new can be set, and what was a field cannot; dataclasses of it have to be frozen."""
    more = More(3)
    assert (more.x, more.y, more.z) == (3.0, 2.0, 3)
    assert [*inspect.signature(More).parameters] == ["z"]
    more.z = 4
    del more.z
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        more.x = 1.0  # type: ignore[misc]

    @dataclasses.dataclass(frozen=True)
    class Third(Kept):
        z: float = 3.0

    assert Third(1.0) == Third(1.0, 2.0, 3.0)
    with pytest.raises(TypeError, match="cannot inherit non-frozen dataclass from a frozen one"):
        dataclasses.dataclass(frozen=False)(type("Fourth", (Kept,), {"__annotations__": {"z": float}}))


def test_it_goes_to_another_process() -> None:
    there = pickle.loads(pickle.dumps(Kept(1.0)))  # noqa: S301 - what was made a line above
    assert there == Kept(1.0)
    with pytest.raises(FrozenInstanceError):
        there.x = 3.0
