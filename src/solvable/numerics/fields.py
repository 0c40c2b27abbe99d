"""Fields that check themselves: bounds, words and shapes are said once, where a field is declared."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, dataclass_transform

import equinox as eqx
import jax
import numpy as np

from solvable.numerics import notebook
from solvable.numerics.results import is_traced
from solvable.numerics.validation import choice, floating, integer, number, real_array, truth

REQUIRED: Any = dataclasses.MISSING
Check = Callable[[str, Any, "dict[str, Any]"], Any]
"""(name, value, the sizes of arrays known so far) -> the value as it is kept. Raises: what the field refuses."""


def real(
    default: Any = REQUIRED,
    *,
    above: float | None = None,
    below: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    static: bool = False,
) -> Any:
    """A finite number, kept as a float64 scalar that JAX traces; `static` keeps a float that it does not.

    None passes where it is the default.
    """

    def check(name: str, value: Any, _: Any) -> Any:
        if value is None and default is None:
            return None
        found = number(name, value, above=above, below=below, at_least=at_least, at_most=at_most)
        return float(found) if static else found

    return _field(check, default, static)


def whole(default: Any = REQUIRED, *, at_least: int | None = None, at_most: int | None = None) -> Any:
    """A whole number, static. None passes where it is the default."""

    def check(name: str, value: Any, _: Any) -> Any:
        return None if value is None and default is None else integer(name, value, at_least=at_least, at_most=at_most)

    return _field(check, default, static=True)


def word(*words: str) -> Any:
    """One of some words, static; the first is the default."""
    return _field(lambda name, value, _: choice(name, value, words), words[0], static=True)


def flag(default: Any = False) -> Any:
    """True or False, static. None passes where it is the default."""
    return _field(lambda name, value, _: None if value is default is None else truth(name, value), default, static=True)


def converted(convert: Callable[[Any], Any], default: Any = REQUIRED, *, static: bool = False) -> Any:
    """What `convert(value)` makes of a value; it raises for what it refuses."""
    return _field(lambda name, value, _: convert(value), default, static)


def numbers(default: Any = REQUIRED) -> Any:
    """A real number or an array of real numbers of any shape; whole numbers become float64, to be differentiated."""

    def check(name: str, value: Any, _: Any) -> Any:
        if not isinstance(value, bool | int | float | list | tuple) and is_traced(value):
            return value
        found = real_array(name, value)
        return found.astype(np.float64)[()] if found.dtype.kind in "biu" else found[()]

    return _field(check, default)


def array(
    *shapes: str,
    default: Any = REQUIRED,
    dtype: Any = None,
    entries: tuple[float, ...] = (),
    nonzero_rows: bool = False,
    least: Mapping[str, int] | None = None,
) -> Any:
    """Finite real numbers of one of the shapes, "n T d": a letter is one size in all arrays of the object.

    Whole numbers become floats: of `dtype`, else of the dtype of the object's first array, else float64. A copy is
    kept. `entries` are the only values accepted, `nonzero_rows` refuses rows of zeros, `least` bounds sizes from below.
    None passes where it is the default.
    """

    def check(name: str, value: Any, sizes: dict[str, Any]) -> Any:
        if value is None and default is None:
            return None
        value = floating(name, value, dtype if dtype is not None else sizes.get(""))
        sizes.setdefault("", value.dtype)
        _match(name, value, shapes, sizes)
        for letter, bound in (least or {}).items():
            if letter in sizes and sizes[letter] < bound:
                raise ValueError(f"{name} has shape {value.shape}; accepted: {letter} >= {bound} in {shapes[0]!r}")
        if not is_traced(value):
            _check_entries(name, np.asarray(value), entries, nonzero_rows)
        return value

    return _field(check, default)


class _CheckedMeta(type(eqx.Module)):
    """Has the rules of a class see fields that are checked: Equinox calls those of the subclass first."""

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> Any:
        rules = namespace.get("__check_init__")
        if rules is not None and bases != (eqx.Module,):

            @functools.wraps(rules)
            def checked(self: Checked) -> None:
                _check_fields(self)
                rules(self)

            namespace["__check_init__"] = checked
        cls = super().__new__(mcs, name, bases, namespace, **options)
        if "__init__" not in namespace:  # Equinox writes the converter's annotations over the fields' own
            cls.__init__.__annotations__.update({field.name: field.type for field in dataclasses.fields(cls)})
        return cls


# Without the specifiers of this file: a type checker takes a default for one only where it is said by keyword.
@dataclass_transform(field_specifiers=(dataclasses.field, eqx.field))
class Checked(eqx.Module, metaclass=_CheckedMeta):
    """A frozen module whose fields check and convert themselves, in order; then come the rules of `__check_init__`.

    A subclass that writes its own `__init__` is checked too. `__before_check__` returns the fields whose default
    depends on other fields. Under jit, vmap and grad traced values pass unchecked.
    """

    def __check_init__(self) -> None:
        _check_fields(self)

    def __before_check__(self) -> Mapping[str, Any]:
        """The fields to replace before they are checked."""
        return {}

    def __repr__(self) -> str:
        """Every field by name: numbers plainly, arrays by their shape."""
        fields = [f"{field.name}={_shown(getattr(self, field.name, None))}" for field in dataclasses.fields(self)]
        return f"{type(self).__name__}({', '.join(fields)})"

    def _repr_html_(self) -> str:
        """What the class is, and every field with its value, as a table."""
        meaning = (type(self).__doc__ or "").strip().partition("\n")[0]
        rows = [(field.name, _shown(getattr(self, field.name, None))) for field in dataclasses.fields(self)]
        return notebook.table(f"{type(self).__name__}: {meaning}", ("field", "value"), rows)


def _field(check: Check, default: Any, static: bool = False) -> Any:
    options = {} if default is REQUIRED else {"default": default}
    if not static:
        return eqx.field(metadata={"check": check}, **options)

    def known(name: str, value: Any, sizes: dict[str, Any]) -> Any:
        if isinstance(value, _Traced):
            raise TypeError(f"{name} is traced; accepted: a value that is known, as programs are compiled for it")
        return check(name, value, sizes)

    return eqx.field(static=True, converter=_plain, metadata={"check": known}, **options)


class _Traced:
    """Stands for a traced value in a static field until the check, which knows the field's name, refuses it."""


def _plain(value: Any) -> Any:
    """An array as numbers of Python: Equinox warns of arrays in static fields before they are checked."""
    if is_traced(value):
        return _Traced()
    if isinstance(value, np.ndarray | jax.Array) and value.ndim:
        return value.tolist()
    return value.item() if isinstance(value, np.generic | np.ndarray | jax.Array) and value.ndim == 0 else value


_CHECKED = "_fields_are_checked"  # no field: copies that JAX makes do not carry it, and need none


def _check_fields(self: Checked) -> None:
    if _CHECKED in self.__dict__:
        return
    object.__setattr__(self, _CHECKED, True)
    for name, value in self.__before_check__().items():
        object.__setattr__(self, name, value)
    sizes: dict[str, Any] = {}
    for field in dataclasses.fields(self):
        check: Check | None = field.metadata.get("check")
        if check is not None:
            object.__setattr__(self, field.name, check(field.name, getattr(self, field.name), sizes))


def _match(name: str, value: Any, shapes: tuple[str, ...], sizes: dict[str, Any]) -> None:
    """Take the sizes of the first shape that fits."""
    for shape in shapes:
        letters = shape.split()
        if len(letters) == value.ndim and 0 not in value.shape:
            found = dict(sizes)
            if all(found.setdefault(one, size) == size for one, size in zip(letters, value.shape, strict=True)):
                sizes.update(found)
                return
    known = [", ".join(str(sizes.get(letter, letter)) for letter in shape.split()) for shape in shapes]
    accepted = " or ".join(f"({one}{',' if one and ',' not in one else ''})" for one in known)
    raise ValueError(f"{name} has shape {tuple(value.shape)}; accepted: {accepted}, no size being 0")


def _check_entries(name: str, value: np.ndarray, entries: tuple[float, ...], nonzero_rows: bool) -> None:
    wrong = np.setdiff1d(value, entries) if entries else np.empty(0)
    if wrong.size:
        words = " and ".join(f"{entry:+g}" for entry in entries)
        raise ValueError(f"{name} holds {wrong[0]:g}; accepted: {words}")
    if nonzero_rows and not np.any(value != 0.0, axis=-1).all():
        place = tuple(int(i) for i in np.argwhere(~np.any(value != 0.0, axis=-1))[0])
        raise ValueError(f"{name} is zero at {place}; accepted: rows that are not zero")


def _shown(value: Any) -> str:
    if is_traced(value):
        return "traced"
    if isinstance(value, bool | int | str) or value is None:
        return repr(value)
    if isinstance(value, float | np.floating | np.integer) or (
        isinstance(value, np.ndarray | jax.Array) and value.ndim == 0
    ):
        return repr(np.asarray(value).item())
    if isinstance(value, np.ndarray | jax.Array):
        return f"{value.dtype}[{','.join(map(str, value.shape))}]"
    return getattr(value, "__name__", None) or repr(value)
