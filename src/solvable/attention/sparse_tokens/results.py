"""How runs of sparse-token classification end, beyond the general result codes."""

from solvable.numerics.results import Result, code


class SparseTokenResult(Result):
    """The result codes of sparse-token classification, besides the general ones."""

    ONE_CLASS = code(
        5,
        "the draw holds one class only, so the unpenalised bias diverges; use more samples or a positive_rate nearer "
        "to 1/2",
    )
    ZERO_QUERY = code(6, "the query stayed at zero because the loss gradient vanishes, so its direction is undefined")
