"""Frozen dataclasses that are quick to import.

Those of Python are put together as text and compiled, half a dozen methods for each class, whenever a process starts:
with the seven that a render needs, a tenth of what a classical one of 12 megapixels takes. Here the methods are the
same functions for all classes; `fields`, `replace`, `asdict` and errors are those of Python.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:
    from collections.abc import Callable
    from dataclasses import MISSING, FrozenInstanceError, fields
    from dataclasses import dataclass as _dataclass

    def dataclass(*, frozen: bool, eq: bool = True) -> Callable[[type], type]:
        """dataclasses.dataclass for frozen classes without bases and slots, whose fields are all arguments."""
        assert frozen

        def of(cls: type) -> type:
            names = ["__init__", "__setattr__", "__delattr__", "__repr__", *(("__eq__", "__hash__") if eq else ())]
            for name in names:
                if name not in vars(cls):
                    setattr(cls, name, vars(_Methods)[name])
            cls.__signature__ = _Signature()
            types = cls.__annotations__
            assert not any("ClassVar" in str(of) or "InitVar" in str(of) for of in types.values())
            cls.__annotations__ = dict.fromkeys(types)  # `dataclasses` looks for those two in every text, for a while
            _dataclass(init=False, repr=False, eq=False)(cls)
            cls.__annotations__ = types
            for f in fields(cls):
                f.type = types[f.name]
            assert all(f.init and f.repr and f.compare and not f.kw_only for f in fields(cls))
            cls.__dataclass_params__.frozen, cls.__dataclass_params__.repr, cls.__dataclass_params__.eq = True, True, eq
            return cls

        return of

    class _Methods:
        def __init__(self, *args: Any, **given: Any) -> None:
            name, known, values = f"{type(self).__name__}.__init__()", fields(self), vars(self)
            if len(args) > len(known):
                raise TypeError(f"{name} takes at most {len(known)} arguments, and {len(args)} were given")
            for f, value in zip(known, args, strict=False):
                if f.name in given:
                    raise TypeError(f"{name} got multiple values for argument {f.name!r}")
                values[f.name] = value
            for f in known[len(args) :]:
                if f.name in given:
                    values[f.name] = given.pop(f.name)
                elif f.default is not MISSING:
                    values[f.name] = f.default
                elif f.default_factory is not MISSING:
                    values[f.name] = f.default_factory()
                else:
                    raise TypeError(f"{name} missing required argument: {f.name!r}")
            if given:
                raise TypeError(f"{name} got an unexpected keyword argument {next(iter(given))!r}")
            if hasattr(self, "__post_init__"):
                self.__post_init__()

        def __setattr__(self, name: str, value: Any) -> None:
            if _is_frozen(self, name):
                raise FrozenInstanceError(f"cannot assign to field {name!r}")
            object.__setattr__(self, name, value)

        def __delattr__(self, name: str) -> None:
            if _is_frozen(self, name):
                raise FrozenInstanceError(f"cannot delete field {name!r}")
            object.__delattr__(self, name)

        def __repr__(self) -> str:
            return (
                f"{type(self).__qualname__}({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in fields(self))})"
            )

        def __eq__(self, other: object) -> Any:
            return _values(self) == _values(other) if other.__class__ is self.__class__ else NotImplemented

        def __hash__(self) -> int:
            return hash(_values(self))

    def _is_frozen(self: Any, name: str) -> bool:
        """Whether it is a field; of the class itself, which is none that somebody made of it, all are."""
        return "__dataclass_fields__" in vars(type(self)) or name in self.__dataclass_fields__

    def _values(self: Any) -> tuple[Any, ...]:
        return tuple(getattr(self, f.name) for f in fields(self))

    class _Signature:
        """What inspect.signature tells of a class, made when somebody asks."""

        def __get__(self, instance: Any, owner: Any) -> Any:
            from inspect import Parameter, Signature

            if owner.__init__ is not _Methods.__init__:  # of a class that somebody made of this one
                found = Signature.from_callable(owner.__init__)
                return found.replace(parameters=[*found.parameters.values()][1:])
            parameters = []
            for f in fields(owner):
                default = f.default if f.default is not MISSING else f.default_factory
                default = Parameter.empty if default is MISSING else default
                kind = Parameter.POSITIONAL_OR_KEYWORD
                parameters.append(Parameter(f.name, kind, default=default, annotation=f.type))
            return Signature(parameters, return_annotation=None)
