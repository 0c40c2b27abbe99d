"""Fields that check themselves: every kind, rules between fields, transformations, copies, the way they are shown."""

from __future__ import annotations

import dataclasses
import inspect
import pickle
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from solvable.numerics.fields import Checked, array, converted, flag, real, whole, word


class Setting(Checked):
    """One field of every kind."""

    length: int = whole(10, at_least=2)
    strength: float = real(5.0, above=0.0)
    p: float = real(2.0, above=1.0, static=True)
    rule: str = word("fixed", "normalized")
    full: bool = flag()
    monotone: bool | None = flag(None)
    sharpness: float | None = real(None, above=0.0)
    rate: float | None = real(None, above=0.0)
    loss: str = converted(str.upper, "square", static=True)

    def __before_check__(self):
        return {"sharpness": 1.0} if self.sharpness is None and self.rate is None else {}

    def __check_init__(self):
        if self.sharpness is not None and self.rate is not None:
            raise ValueError("sharpness and rate are both given; accepted: one of them")
        if self.length > 50:
            # the rules see checked fields
            assert type(self.length) is int
            assert isinstance(self.strength, np.float64)
            raise ValueError(f"length={self.length} is too long; accepted: at most 50")


class Longer(Setting):
    """A subclass with a rule of its own."""

    def __check_init__(self):
        assert isinstance(self.strength, np.float64)
        if self.rule == "fixed":
            raise ValueError("rule='fixed' is not accepted; accepted: 'normalized'")


class Written(Checked):
    """A subclass that writes its own constructor."""

    strength: float = real(above=0.0)

    def __init__(self, half):
        self.strength = 2 * half


class Sequences(Checked):
    """Arrays whose sizes belong together."""

    tokens: jax.Array = array("n T d", least={"T": 2})
    queries: jax.Array = array("n d", "n m d", nonzero_rows=True)
    labels: jax.Array = array("n", entries=(-1.0, 1.0))
    signal: jax.Array | None = array("d", default=None)


TOKENS, QUERIES, LABELS = np.ones((2, 3, 4)), np.ones((2, 4)), [1, -1]


def test_fields_convert() -> None:
    made = Setting(length=3.0, strength=np.float32(2), monotone=np.bool_(True))
    assert (made.length, made.strength, made.monotone, made.sharpness, made.loss) == (3, 2.0, True, 1.0, "SQUARE")
    assert type(made.length) is int
    assert isinstance(made.strength, np.float64)
    assert type(made.p) is float
    assert Setting(rate=0.5).sharpness is None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"length": 1}, "length=1 is out of range; accepted: a whole number >= 2"),
        ({"length": 2.5}, "length=2.5 is not a whole number"),
        ({"strength": 0}, "strength=0 is out of range; accepted: a finite number > 0"),
        ({"strength": True}, "strength=True is not a single number"),
        ({"strength": None}, "strength=None is not a number"),
        ({"strength": float("nan")}, "strength=nan is out of range"),
        ({"p": 1}, "p=1 is out of range"),
        ({"rule": "polyak"}, "rule='polyak' is unknown; accepted: 'fixed', 'normalized'"),
        ({"full": 1}, "full=1 is not accepted; accepted: True or False"),
        ({"full": None}, "full=None is not accepted; accepted: True or False"),
        ({"monotone": 0}, "monotone=0 is not accepted; accepted: True or False"),
        ({"sharpness": 1.0, "rate": 1.0}, "both given"),
        ({"length": 51}, "length=51 is too long"),
    ],
)
def test_one_sentence_names_the_field(options, words) -> None:
    with pytest.raises(ValueError, match=words.replace("(", r"\(")):
        Setting(**options)


def test_subclasses_are_checked() -> None:
    with pytest.raises(ValueError, match="rule='fixed' is not accepted"):
        Longer()
    with pytest.raises(ValueError, match="length=51 is too long"):
        Longer(length=51, rule="normalized")
    with pytest.raises(ValueError, match="strength=-2 is out of range"):
        Written(-1)
    assert Written(1).strength == 2.0
    with pytest.raises(ValueError, match="strength=-1 is out of range"):
        dataclasses.replace(Setting(), strength=-1)
    assert dataclasses.replace(Setting(), strength=1).strength == 1.0


def test_numbers_are_traced_and_words_are_static() -> None:
    made = Setting()
    leaves = jax.tree_util.tree_leaves(made)
    assert leaves == [5.0, 1.0]
    assert jax.jit(lambda one: 2.0 * one.strength)(made) == 10.0
    assert jax.grad(lambda x: Setting(strength=x).strength ** 2)(3.0) == 6.0
    np.testing.assert_array_equal(jax.vmap(lambda x: Setting(strength=x).strength)(jnp.arange(3.0)), [0.0, 1.0, 2.0])
    with pytest.raises(TypeError, match="p is traced; accepted: a value that is known"):
        jax.jit(lambda p: Setting(p=p).p)(2.0)


def test_equal_values_do_not_compile_again() -> None:
    compiled = jax.jit(lambda one: one.strength)
    for strength in (1.0, 2, np.float32(3.0)):
        compiled(Setting(strength=strength))
    assert compiled._cache_size() == 1


def test_copies() -> None:
    made = Setting(length=4, full=True)
    assert repr(pickle.loads(pickle.dumps(made))) == repr(made)
    mapped = jax.tree_util.tree_map(lambda leaf: leaf, made)
    assert repr(mapped) == repr(made)


def test_every_field_is_shown_plainly() -> None:
    assert repr(Setting()) == (
        "Setting(length=10, strength=5.0, p=2.0, rule='fixed', full=False, monotone=None, sharpness=1.0, rate=None, "
        "loss='SQUARE')"
    )
    assert repr(Sequences(TOKENS, QUERIES, LABELS)) == (
        "Sequences(tokens=float64[2,3,4], queries=float64[2,4], labels=float64[2], signal=None)"
    )
    assert str(inspect.signature(Setting)).startswith("(length: 'int' = 10, strength: 'float' = 5.0, p: 'float' = 2.0")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ((TOKENS[:, :1], QUERIES, LABELS), "tokens has shape (2, 1, 4); accepted: T >= 2"),
        ((TOKENS[0], QUERIES, LABELS), "tokens has shape (3, 4); accepted: (n, T, d)"),
        ((TOKENS[:0], QUERIES, LABELS), "tokens has shape (0, 3, 4); accepted: (n, T, d), no size being 0"),
        ((TOKENS, QUERIES[:, :3], LABELS), "queries has shape (2, 3); accepted: (2, 4) or (2, m, 4)"),
        ((TOKENS, 0 * QUERIES, LABELS), "queries is zero at (0,)"),
        ((TOKENS, QUERIES, [1, 0]), "labels holds 0; accepted: -1 and +1"),
        ((TOKENS, QUERIES, [1]), "labels has shape (1,); accepted: (2,)"),
        ((TOKENS, QUERIES, [1, np.inf]), "labels holds inf at (1,)"),
        ((TOKENS, [[1], [2, 3]], LABELS), "queries is a ragged list"),
        ((TOKENS.astype(complex), QUERIES, LABELS), "tokens has dtype complex128"),
        ((TOKENS, QUERIES, LABELS, np.ones(3)), "signal has shape (3,); accepted: (4,)"),
    ],
)
def test_arrays_are_checked(arrays, words) -> None:
    import re

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match=re.escape(words)):
            Sequences(*arrays)


def test_arrays_follow_the_first_and_are_copied() -> None:
    tokens = TOKENS.astype(np.float32)
    made = Sequences(tokens, QUERIES, LABELS)
    assert {made.tokens.dtype, made.queries.dtype, made.labels.dtype} == {np.dtype(np.float32)}
    tokens[:] = 7.0
    assert made.tokens.max() == 1.0
    assert Sequences(np.ones((2, 3, 4), int), QUERIES, LABELS).tokens.dtype == np.float64
    assert Sequences(TOKENS, np.ones((2, 5, 4)), LABELS).queries.shape == (2, 5, 4)


def test_traced_arrays_keep_their_shape_check() -> None:
    @jax.jit
    def labels(tokens):
        return Sequences(tokens, tokens[:, 0], jnp.ones(2)).labels

    assert labels(jnp.ones((2, 3, 4))).shape == (2,)
    with pytest.raises(ValueError, match=r"accepted: \(3,\)"):
        labels(jnp.ones((3, 3, 4)))


class Named(Checked):
    """What <b>stands</b> in a notebook.

    Not this.
    """

    label: str = converted(str, "<script>", static=True)


def test_a_notebook_shows_meaning_and_fields_escaped() -> None:
    assert Named()._repr_html_() == (
        '<table><caption style="caption-side: top; text-align: left">Named: What &lt;b&gt;stands&lt;/b&gt; in a '
        'notebook.</caption><thead><tr><th scope="col">field</th><th scope="col">value</th></tr></thead><tbody><tr>'
        '<th scope="row">label</th><td>&#x27;&lt;script&gt;&#x27;</td></tr></tbody></table>'
    )
    shown = Sequences(TOKENS, QUERIES, LABELS)._repr_html_()
    assert '<th scope="row">tokens</th><td>float64[2,3,4]</td>' in shown
    seen: list[str] = []
    jax.jit(lambda one: seen.append(one._repr_html_()))(Setting())
    assert '<th scope="row">strength</th><td>traced</td>' in seen[0]
