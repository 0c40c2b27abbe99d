"""Symbols as declarations write them ("theta", "alpha0", "log(eps)"), set for a page and for a figure."""

import re

_SMALL = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi"
_CAPITAL = "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"  # the others look like Latin letters
_NAMES = [*_SMALL.split(), "omega", "eps", *_CAPITAL.split()]
_LETTERS = dict(zip(_NAMES, "αβγδεζηθικλμνξπρστυφχψωεΓΔΘΛΞΠΣΥΦΨΩ", strict=True))
_WITHOUT_COMMAND = ("eps", "phi")  # \phi is another form of the letter
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_WORD = re.compile(r"(?<![\w\\$])([A-Za-z]+)_?([0-9]*)(?![\w$])")


def greek(word: str) -> str:
    """A symbol in plain letters: the names of Greek letters in it become the letters, their digits subscripts."""

    def plain(found: re.Match[str]) -> str:
        return _LETTERS[found[1]] + found[2].translate(_SUBSCRIPTS) if found[1] in _LETTERS else found[0]

    return _WORD.sub(plain, word)


def typeset(word: str) -> str:
    """A symbol as mathtext for matplotlib: Greek and single letters become mathematics, other words stay."""

    def mathematics(found: re.Match[str]) -> str:
        name, digits = found[1], found[2]
        if name not in _LETTERS and len(name) > 1:
            return found[0]
        letter = name if len(name) == 1 else _LETTERS[name] if name in _WITHOUT_COMMAND else f"\\{name}"
        return f"${letter}{'_' * bool(digits)}{digits if len(digits) < 2 else f'{{{digits}}}'}$"

    return _WORD.sub(mathematics, word)
