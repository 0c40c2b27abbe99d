"""Training over steps: directions, joint training, step rules, factors, the entries of W."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from solvable.attention import token_selection as ts
from solvable.attention.token_selection.experiments.shared import (
    DERIVED,
    MIRROR,
    OURS,
    OVER_STEPS,
    RATES,
    REFERENCES,
    STATED,
    STEPS,
    TRANSFORMERS,
    Figure,
    SelectionExperiment,
    allow,
)
from solvable.lab.declare import (
    Bars,
    Dimension,
    Guide,
    Observable,
    Overlay,
    Panel,
    axis,
    parameter,
)

AT = ("at",)
RULES = ("fixed", "normalized", "growing", "polyak")


def _one_percent(cell: Any) -> float:
    """A hundredth of the fall of log attention a step, of which a comparison accepts four times the allowance."""
    speed = cell.speed if cell.rule == "growing" else cell.learning_rate
    return 0.0025 * (1.0 / cell.constant if cell.rule == "polyak" else 0.25 * speed)


class Published(Figure):
    """What the figures with the settings of the authors' code share: normalised steps, their number and their rate."""

    p: float = axis(list(REFERENCES), "p of mirror descent")
    steps: int | None = parameter(None, "steps (none: 1500 at p = 1.75, 2000 at 2, 20000 at 3, else 4000)")
    learning_rate: float = parameter(0.1, "learning rate", symbol="eta", log=True)

    def descent(self, **options: Any) -> Any:
        """Normalised mirror descent."""
        steps = STEPS.get(self.p, 4000) if self.steps is None else self.steps
        return ts.MirrorDescent(self.p, self.learning_rate, steps, **options)


def divergence_with_limits(dataset: Any, prefix: str) -> Any:
    """The divergence of the runs of which a limit is predicted."""
    if "theory_given_final_divergence" not in dataset:
        return dataset["divergence"]
    return dataset["divergence"].where(dataset["theory_given_final_divergence"].notnull())


class Direction(Published, SelectionExperiment):
    """Directional divergence of mirror descent from the max-margin solutions of three norms."""

    name = "token-selection/direction"
    source = f"{MIRROR}, direction figures (settings from the authors' code)"
    replicates = 100

    gradient: Literal["stable", "autodiff", "authors"] = parameter(
        "stable", "form of the gradient ('authors': as published)"
    )
    tokens_of: Literal["own run", "other run"] = parameter(
        "own run", "whose tokens the references separate ('other run': as published)"
    )
    start_scale: float = parameter(1.0, "standard deviation of the entries of W at the start")

    observables = (
        Observable("divergence", "directional divergence", log=True, dims=("at", "reference")),
        Observable("final_divergence", "divergence at the end", allowance=allow(0.0025), dims=("reference",)),
    )
    statuses = {"final_divergence": STATED}
    panels = (
        Panel(
            divergence_with_limits,
            label="divergence from the p = r solution",
            hue="reference",
            theories={},
            guides=(Guide("level", "theory_given_final_divergence", "limits"),),
            facet="p",
            title="trained with {}",
            least=1e-12,
            log="xy",
        ),
    )
    dimensions = {**OVER_STEPS, "reference": Dimension("p of the max-margin solution")}
    norms = REFERENCES

    def algorithm(self) -> Any:
        """Normalised mirror descent."""
        return self.descent(gradient=self.gradient)

    def coordinates(self) -> Mapping[str, Any]:
        """The steps and the references."""
        return {**super().coordinates(), "reference": np.array(REFERENCES)}

    def runs(self, key: Any, replicates: int | range, tokens: Any = None) -> Any:
        """Draw problems, train on each, and solve for the tokens selected.

        With tokens_of="other run" they are those that another run selected, trained on the same problem with the
        reference's p, for its published steps, from another start. They differ in more than half of the problems, which
        is most of the published figure's plateau.
        """
        if self.tokens_of == "other run":
            law = (self.task(), self.algorithm())
            tokens = ts.figures.tokens_of_others(*law, key, replicates, self.start_scale, STEPS)
        return super().runs(key, replicates, tokens)

    def measure(self, run: Any) -> Mapping[str, Any]:
        """`divergence` in the p of training from the solutions of all references, over the steps and at the end; W
        points along its own p's solution there, so the limits are those between the two solutions.
        """
        found = [ts.directional_divergence(one.weights, run.path.weights, self.p) for one in run.references]
        return ts.figures.with_ends({"divergence": np.stack(found, axis=-1)})


class Joint(Published):
    """Joint mirror descent on the key-query matrix and the decoder: both directions, both probabilities."""

    name = "token-selection/joint"
    source = f"{MIRROR}, joint experiment (settings from the authors' code)"
    replicates = 1

    observables = (
        Observable("divergence", "divergence of W", log=True, dims=AT),
        Observable("decoder_divergence", "divergence of the decoder", log=True, dims=AT),
        Observable("attention_probability", "attention on the selected tokens", dims=AT),
        Observable("label_probability", "probability of the label", dims=AT),
        Observable("final_divergence", "divergence of W at the end", tolerance=0.001),
        Observable("final_decoder_divergence", "divergence of the decoder at the end", tolerance=0.001),
        Observable("token", "selected token", dims=("sequence",)),
        Observable("attention", "attention of the first sequence", dims=("at", "position")),
    )
    statuses = {"final_divergence": OURS, "final_decoder_divergence": OURS}
    panels = (
        *(Panel(one.name) for one in observables[:4]),
        Bars(
            "attention", "position", where={"p": 2.0}, label="attention", title="the first sequence, p = 2", frames="at"
        ),
    )
    dimensions = {**OVER_STEPS, "sequence": Dimension("sequence"), "position": Dimension("token of the sequence")}

    def task(self) -> Any:
        """The published example."""
        return ts.two_sequences()

    def algorithm(self) -> Any:
        """Normalised mirror descent on W and v."""
        return self.descent(train_decoder=True)

    def coordinates(self) -> Mapping[str, Any]:
        """The steps recorded, and the sequences."""
        steps, early = self.algorithm().steps, np.array([1, 2, 5, 10, 20, 50, 100])
        late = np.round(np.geomspace(200, steps, 9)) if steps > 200 else []
        at = np.union1d(early[early <= steps], np.append(late, steps)).astype(int)
        sequences, length, _ = self.task().tokens.shape
        return {"at": at, "sequence": np.arange(sequences), "position": np.arange(length)}

    def runs(self, key: Any, replicates: int | range, tokens: Any = None) -> Any:
        """Train W and v from zero."""
        return super().runs(key, replicates, tokens).separable()

    def measure(self, run: Any) -> Mapping[str, Any]:
        """Over the steps: both divergences from the max-margin directions, the attention of the first sequence, the
        mean attention on the tokens selected in the end, the mean probability sigmoid(y f) of the label. At the end:
        both divergences, and the selected `token` of each sequence.
        """
        divergence = ts.directional_divergence(run.limit.weights, run.path.weights, self.p)
        of_decoder = ts.directional_divergence(run.decoder_limit.weights, run.path.decoder, self.p)
        found = ts.figures.with_ends({"divergence": divergence, "decoder_divergence": of_decoder})
        maps, attention, label = ts.figures.probabilities(run.problem, run.path, run.selected)
        probabilities = {"attention_probability": attention, "label_probability": label, "attention": maps[:, 0]}
        return {**found, **probabilities, "token": run.selected}


class Rates(SelectionExperiment):
    """Step rules side by side: convergence of the direction, and saturation of the attention."""

    name = "token-selection/rates"
    source = f"{RATES} and {MIRROR} (setting and laws: reconstruction and derived here)"
    replicates = 30
    numbers = 2  # no growth of steps that oscillate

    rule: Literal["fixed", "normalized", "growing", "polyak"] = axis([*RULES], "step rule")
    samples: int = parameter(8, "sequences", symbol="n")
    length: int = parameter(4, "tokens a sequence", symbol="T")
    dim: int = parameter(40, "dimension of a token", symbol="d")
    p: float = parameter(2.0, "p of mirror descent (polyak: 2)")
    tokens: Literal["orthonormal", "gaussian", "random scores"] = parameter(
        "orthonormal", "tokens; with one optimal token of equal scores unless the scores are random"
    )
    learning_rate: float = parameter(0.1, "learning rate of normalized steps", symbol="eta", log=True)
    fixed_rate: float = parameter(1.0, "learning rate of fixed steps", log=True)
    speed: float = parameter(0.1, "growth of the norm a step, for linear growth", log=True)
    constant: float = parameter(2.0, "constant of the polyak step")
    steps: int = parameter(4000, "steps", log=True)
    start_scale: float = parameter(1.0, "standard deviation of the entries of W at the start")

    observables = (
        Observable("divergence", "divergence from the max margin", log=True, dims=AT),
        Observable("decay", "-log of attention off the selection", log=True, dims=AT),
        Observable("divergence_slope", "log-log slope of the divergence", allowance=allow(0.075)),
        Observable("gap_slope", "slope of log attention a step", allowance=_one_percent),
        Observable("growth", "norm over its law", allowance=allow(0.0125)),
        Observable("scaled_excess", "excess loss over its law", allowance=allow(0.0125)),
        Observable("offset", "alignment minus log(eta k)", allowance=allow(0.05)),
    )
    overlays = (
        Overlay("growth", given=True),
        Overlay("rate"),
        Overlay("excess_loss", given=True),
        Overlay("polyak", words="law of polyak steps"),
    )
    panels = (
        Panel("divergence", theories={}),
        Panel("decay", theories={}),
        Panel("divergence_slope", limits={"y": (-2.5, 0.5)}),
        "gap_slope",
    )

    def task(self) -> Any:
        """One optimal token and equal scores, or random problems."""
        if self.tokens == "random scores":
            return ts.RandomSelection(self.samples, self.length, self.dim)
        return ts.EqualScores(self.samples, self.length, self.dim, orthonormal=self.tokens == "orthonormal")

    def algorithm(self) -> Any:
        """Mirror descent with the step rule."""
        if self.rule == "growing":
            return ts.MirrorDescent(self.p, ts.linear_growth(self.speed, self.p), self.steps)
        rate = self.fixed_rate if self.rule == "fixed" else self.learning_rate
        return ts.MirrorDescent(self.p, rate, self.steps, self.rule, polyak_constant=self.constant)

    def simulate(self, key: Any, replicates: int | range) -> Any:
        """Train; keep curves, slopes and last values."""
        return ts.figures.at_the_end(super().simulate(key, replicates), self.observables)

    def predict(self, overlay: Overlay, given: Any = None) -> Any:
        """One theory's slopes and last values."""
        return ts.figures.at_the_end(super().predict(overlay, given), self.observables)

    def applicable(self) -> Sequence[Overlay]:
        """The theories that speak of this step rule."""
        growth, rate, excess, polyak = self.overlays
        growing = (growth, rate) if self.p >= 2.0 else (growth,)
        of_rules = {"fixed": (excess,), "growing": growing, "polyak": (growth, rate, polyak)}
        return of_rules.get(self.rule, (growth, rate))


class Factored(SelectionExperiment, Figure):
    """Gradient descent on W against gradient descent on K and Q: which max-margin solution the product follows."""

    name = "token-selection/factored"
    source = f"{TRANSFORMERS}, correlation figures (settings from the authors' code)"
    replicates = 50

    parameterization: Literal["matrix", "factored"] = axis(["matrix", "factored"], "what is trained")
    steps: int = parameter(4000, "steps", log=True)
    learning_rate: float = parameter(0.1, "learning rate", symbol="eta", log=True)
    start_scale: float = parameter(0.1, "standard deviation of the entries of the trained matrices at the start")

    observables = (
        Observable("frobenius", "correlation with the Frobenius solution", dims=AT),
        Observable("nuclear", "correlation with the nuclear solution", dims=AT),
        Observable("final_frobenius", "correlation with the Frobenius solution at the end", allowance=allow(0.01)),
        Observable("final_nuclear", "correlation with the nuclear solution at the end", allowance=allow(0.01)),
        Observable("effective_rank", "effective rank of W", allowance=allow(0.05)),
    )
    statuses = {"final_frobenius": OURS, "final_nuclear": OURS, "effective_rank": DERIVED}
    panels = ("frobenius", "nuclear", Panel("effective_rank", "parameterization"))
    norms = (2.0, "nuclear")

    def algorithm(self) -> Any:
        """Normalised gradient descent on W or its factors."""
        return ts.MirrorDescent(2.0, self.learning_rate, self.steps, parameterization=self.parameterization)

    def measure(self, run: Any) -> Mapping[str, Any]:
        """Correlation <A, W>/(|A|_F |W|_F) with the Frobenius and the nuclear max-margin solution A, over the steps and
        at the end; `effective_rank` (|W|_*/|W|_F)^2 at the end. W ends along the first, K Q^T along the second.
        """
        frobenius, nuclear = (ts.correlation(one.weights, run.path.weights) for one in run.references)
        values = np.linalg.svd(run.weights, compute_uv=False)
        rank = values.sum() ** 2 / max(values @ values, 1e-300)
        return {**ts.figures.with_ends({"frobenius": frobenius, "nuclear": nuclear}), "effective_rank": rank}


class Sparsity(SelectionExperiment, Figure):
    """How unequal the entries of W are, after training with different p and in the max-margin limit."""

    name = "token-selection/sparsity"
    source = f"{MIRROR}, sparsity of the weights (figure: reconstruction)"
    replicates = 50

    p: float = axis([1.5, 1.75, 2.0, 3.0, 5.0], "p of mirror descent", log=True)
    speed: float = parameter(0.1, "growth of the norm a step", log=True)
    steps: int = parameter(4000, "steps", log=True)

    observables = (
        Observable("small_share", "share of entries below max/10", allowance=allow(0.01)),
        Observable("participation", "participation (mean |w|)² / mean w²", allowance=allow(0.005)),
        Observable("peak", "largest entry / root mean square", allowance=allow(0.03)),
    )
    statuses = dict.fromkeys(("small_share", "participation", "peak"), DERIVED)
    x, dimensions = "p", {}

    def algorithm(self) -> Any:
        """Normalised mirror descent with linear growth."""
        return ts.MirrorDescent(self.p, ts.linear_growth(self.speed, self.p), self.steps)

    def measure(self, run: Any) -> Mapping[str, Any]:
        """Of the entries w: `small_share` is below a tenth of the largest; `participation` (sum |w|)^2/(d^2 sum w^2), 1
        for equal sizes and 1/d^2 for a single entry; `peak` the largest over the root mean square.
        """
        size = np.abs(run.weights)
        largest, square = size.max(), np.mean(size**2)
        small = np.mean(size < 0.1 * largest)
        return {"small_share": small, "participation": np.mean(size) ** 2 / square, "peak": largest / square**0.5}
