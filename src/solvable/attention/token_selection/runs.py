"""Runs trained together, and the max-margin solutions that they converge to in direction."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from solvable.attention.token_selection.algorithms import MirrorDescent, TrainingPath, trained
from solvable.attention.token_selection.max_margin import MaxMargin, decoder_max_margin, locally_optimal, max_margin
from solvable.attention.token_selection.results import SelectionResult
from solvable.attention.token_selection.task import Norm, SelectionProblem, Task
from solvable.lab.declare import Given, Result, instance, pick
from solvable.numerics.random import normal
from solvable.numerics.validation import number

SATURATED = 0.99


class Runs(eqx.Module):
    """Runs stacked along a leading axis: what was drawn, what the attention ended on, and where the weights point.

    `problem`; `selected` (R, n) or (R, n, m), `saturation` (R,), `decoder` (R, d), `weights` (R, d, d) and `path` as in
    a `SelectionRun` (the last two None where only the selections are known). `limit` and, where the decoder is trained,
    `decoder_limit` are the max-margin solutions for the tokens selected, `references` those that a figure compares
    with. `result` (R,) holds `Result` codes.
    """

    problem: SelectionProblem
    selected: Int[np.ndarray, "R n"] | Int[np.ndarray, "R n m"]
    saturation: Float[np.ndarray, "R"]
    decoder: Float[np.ndarray, "R d"]
    result: Int[np.ndarray, "R"]
    limit: Any  # a MaxMargin whose fields are stacked
    decoder_limit: Any = None
    weights: Any = None
    path: Any = None
    references: tuple[Any, ...] = ()

    @property
    def saturated(self) -> Bool[np.ndarray, "R"]:
        """Whether the attention counts as settled."""
        return self.saturation >= SATURATED

    @property
    def solved(self) -> Int[np.ndarray, "R"]:
        """How the max-margin programs of each run ended."""
        if self.decoder_limit is None:
            return self.limit.result
        return np.where(self.limit.result == 0, self.decoder_limit.result, self.limit.result)

    def separable(self) -> Runs:
        """With the reason why its tokens have no solution as the code of a run."""
        return dataclasses.replace(self, result=np.where(self.result == 0, self.solved, self.result))

    def settled(self) -> Runs:
        """With the reason why theory does not speak of it as the code of a run."""
        codes = np.where((self.result == 0) & ~self.saturated, int(SelectionResult.UNSATURATED), self.result)
        codes = np.where(codes == 0, self.solved, codes)
        for r in map(int, np.flatnonzero(codes == 0)):
            if not locally_optimal(*pick((self.problem, self.limit, self.decoder), r)):
                codes[r] = SelectionResult.NOT_LOCALLY_OPTIMAL
        return dataclasses.replace(self, result=codes)

    def at_the_limit(self) -> Runs:
        """Those that have settled, with W, and a trained decoder, at the max-margin solution."""
        decoder = None if self.decoder_limit is None else self.decoder_limit.weights[:, None]
        path = TrainingPath(self.path.steps[:, -1:], self.limit.weights[:, None], decoder)
        return dataclasses.replace(self.settled(), weights=self.limit.weights, path=path)

    def beside(self, norms: Sequence[Norm], selections: Sequence[Any] | None = None) -> Runs:
        """With the solutions in several norms, for the tokens that every run selected or for those of `selections`."""
        codes, references = self.result, []
        for norm, chosen in zip(norms, selections or [self.selected] * len(norms), strict=True):
            solutions = [max_margin(pick(self.problem, r), chosen[r], norm, throw=False) for r in range(len(codes))]
            references.append(stacked(solutions))
            codes = np.where(codes == 0, references[-1].result, codes)
        return dataclasses.replace(self, references=tuple(references), result=codes)


def run_together(
    task: Task, algorithm: MirrorDescent, keys: Any, stops: Int[np.ndarray, "K"], init_scale: Any = 0.0, run: int = 0
) -> Runs:
    """One run a key, recorded at `stops`, with their limits; another number of the `run` gives other starts.

    Training starts at `init_scale` times standard normals (0: where `MirrorDescent.train` does).
    """
    scale = number("init_scale", init_scale, at_least=0.0)
    # draws are compiled for the tensors that are trained, not for the steps
    layout = MirrorDescent(parameterization=algorithm.parameterization, train_decoder=algorithm.train_decoder)
    problems, starts = _drawn(task, layout, keys, None if scale == 0.0 else scale, jnp.asarray(run))
    runs = _trained(algorithm.rule, problems, starts, jnp.asarray(stops))
    problems, runs = jax.tree_util.tree_map(np.asarray, (problems, runs))
    ends = (runs.selected, runs.saturation, runs.decoder, runs.result)
    return Runs(problems, *ends, *limits(algorithm, problems, runs.selected), runs.weights, runs.path)


def runs_given(task: Task, algorithm: MirrorDescent, given: Given) -> Runs:
    """The runs that a prediction is given, with their limits; those that theory does not speak of have a code.

    Raises: ValueError for what is missing, or has other sizes than the task's problems.
    """
    selected, decoders = np.asarray(given.need("selected")), given.get("decoder")
    if selected.ndim not in (2, 3) or selected.size == 0:
        raise ValueError(f"given={given.what} holds selected of shape {selected.shape}; accepted: a row for each run")
    count, drawn = len(selected), jax.eval_shape(task.sample, jax.random.key(0))
    if given.get("problem") is None and isinstance(task, SelectionProblem):
        problems = jax.tree_util.tree_map(lambda leaf: np.broadcast_to(leaf, (count, *leaf.shape)), task)
    else:
        problems = given.need("problem", f"a mapping with the problems, which {type(task).__name__} draws every time")
    instance("problem of given", problems, (SelectionProblem,))
    decoders = given.need("decoder") if algorithm.train_decoder or decoders is not None else problems.decoder
    decoders = np.asarray(decoders)
    last = np.ones(count) if given.get("saturation") is None else np.asarray(given.get("saturation"))
    saturation = last[:, -1] if last.ndim == 2 else last  # over the steps, where an outcome has it so
    codes = np.zeros(count, int) if given.result is None else np.ravel(given.result)
    for name, value, own in (
        ("tokens", problems.tokens, drawn.tokens.shape),
        ("decoder", decoders, drawn.decoder.shape),
        ("saturation", saturation, ()),
        ("result", codes, ()),
    ):
        if value.shape != (count, *own):
            raise ValueError(
                f"given={given.what} holds {name} of shape {value.shape}; accepted: {(count, *own)}, a row for each of "
                "the selections, with the sizes of the task"
            )
    runs = Runs(problems, selected, saturation, decoders, codes, *limits(algorithm, problems, selected)).settled()
    # that a program was not solved is a failure of the prediction, not of the run
    return dataclasses.replace(runs, result=np.where(runs.result == int(Result.MAX_STEPS), 0, runs.result))


def limits(algorithm: MirrorDescent, problems: SelectionProblem, selected: Any) -> tuple[MaxMargin, MaxMargin | None]:
    """The solutions that runs with these selections converge to, stacked, of W and of a trained decoder.

    The decoder's support vectors are the sequences that W must separate by 1; the others by 0.
    """
    of_weights, of_decoder = [], []
    p = "nuclear" if algorithm.parameterization == "factored" else algorithm.p
    for r in range(len(selected)):
        problem, chosen, relaxed = pick(problems, r), selected[r], None
        if algorithm.train_decoder:
            found = decoder_max_margin(problem, chosen, algorithm.p, throw=False)
            slack = found.multipliers <= 1e-8 * np.max(found.multipliers)
            relaxed = slack if found.result != Result.INFEASIBLE and slack.any() else None
            of_decoder.append(found)
        of_weights.append(max_margin(problem, chosen, p, relaxed=relaxed, throw=False))
    return stacked(of_weights), stacked(of_decoder) if of_decoder else None


def stacked(solutions: Sequence[MaxMargin]) -> MaxMargin:
    """Solutions along a leading axis, without what the solver counted."""
    plain = [dataclasses.replace(one, stats={}) for one in solutions]
    return jax.tree_util.tree_map(lambda *leaves: np.stack(leaves), *plain)


_trained = eqx.filter_jit(eqx.filter_vmap(trained, in_axes=(None, 0, 0, None)))


@eqx.filter_jit
def _drawn(task: Task, layout: MirrorDescent, keys: Any, scale: Any, run: Any) -> Any:
    def one(key: Any) -> Any:
        draw_key, start_key = jax.random.split(key)
        problem = task.sample(draw_key)
        start_key = jax.random.fold_in(start_key, run)
        start = layout.start(problem, start_key)
        if scale is not None:
            count, shape = len(start.matrices), start.matrices[0].shape
            start = start._replace(matrices=tuple(scale * normal(start_key, (count, *shape), problem.tokens.dtype)))
        return problem, start

    return jax.vmap(one)(keys)
