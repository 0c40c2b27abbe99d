"""Symbols for pages and figures."""

import unicodedata

import pytest
from matplotlib import mathtext

from solvable.lab.declare import symbols
from solvable.lab.declare.symbols import greek, typeset


@pytest.mark.parametrize(
    ("word", "page", "figure"),
    [
        ("alpha", "α", r"$\alpha$"),  # noqa: RUF001
        ("alpha0", "α₀", r"$\alpha_0$"),
        ("alpha_0", "α₀", r"$\alpha_0$"),
        ("beta12", "β₁₂", r"$\beta_{12}$"),
        ("lambda", "λ", r"$\lambda$"),
        ("Sigma", "Σ", r"$\Sigma$"),
        ("log(eps)", "log(ε)", "log($ε$)"),
        ("theta / d", "θ / d", r"$\theta$ / $d$"),
        ("d", "d", "$d$"),
        ("sharpness", "sharpness", "sharpness"),
        ("pitch, beta_rate, $pi$", "pitch, beta_rate, $pi$", "pitch, beta_rate, $pi$"),
        ("", "", ""),
    ],
)
def test_a_symbol_on_a_page_and_in_a_figure(word, page, figure):
    assert (greek(word), typeset(word)) == (page, figure)


@pytest.mark.parametrize("name", symbols._LETTERS)
def test_every_letter_is_the_one_it_is_called_and_can_be_drawn(name):
    case, called = "CAPITAL" if name[0].isupper() else "SMALL", {"lambda": "LAMDA", "eps": "EPSILON"}
    letter = unicodedata.lookup(f"GREEK {case} LETTER {called.get(name.lower(), name.upper())}")
    assert greek(name) == letter
    drawn = [mathtext.MathTextParser("path").parse(words) for words in (typeset(name), f"${letter}$")]
    assert drawn[0].glyphs[0][2:3] == drawn[1].glyphs[0][2:3]
