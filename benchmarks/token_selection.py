"""Token selection against what one would pick without this library: solver, training, optimiser step.

    python benchmarks/token_selection.py [--only solver,training,optimiser]

Prints Markdown tables; "goal" says met, or by how much a ratio misses it. One thread each side, on one CPU. Times of
the first two tables are CPU seconds of the process, which leave the neighbours' turns on a shared machine out (the last
line says how far CPU time and wall clock were apart). Nothing here is part of the tests.

What is compared
* solver: the whole call of `max_margin`, the best of several for each problem, against the whole call of cvxpy with
  CLARABEL: building the program, compiling and solving it. Problems are drawn by `RandomSelection`, their optimal
  tokens are selected. Both are certified alike: the weights are rescaled to a margin of 1, the multipliers lambda are
  clipped at 0, and the gap is 1 - (sum lambda / |A^T lambda|_dual) / |W|. Goals: 20 times at p = 2 and 5 times at
  p = 1.5 and 3, at a smaller gap.
* training: 20000 normalised steps on 100 problems of n = 6, T = 8, d = 10 by one call of `simulate`, which also draws
  the problems and solves their max-margin programs. Peers only take the steps: a loop in NumPy and one in torch with
  autograd, as the authors' code has it, for one problem after the other, and a NumPy loop over all problems at a time.
  They run fewer steps, and their times are scaled. Goal at p = 2, with the compilation and without: 15 times the two
  loops that take a problem at a time.
* optimiser: the table of `mirror_descent_step.py`. Goal: below 2 times plain SGD without normalisation.
"""

from __future__ import annotations

import one_thread

# isort: split
import argparse
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import cvxpy
import jax
import mirror_descent_step
import numpy as np
from sparse_tokens import CLOCK, best, clocked, milliseconds, processor, table

from solvable.attention import token_selection as ts

RATE, STEPS, PROBLEMS = 0.1, 20_000, 100
TRAINING_GOAL, OPTIMISER_GOAL = 15.0, 2.0
# (n, T, d): how many problems, and how often cvxpy solves each
SIZES = {(6, 8, 10): (5, 5), (20, 10, 16): (3, 2), (50, 20, 32): (1, 1)}
SOLVER_GOALS = {2.0: 20.0, 1.5: 5.0, 3.0: 5.0}
NO_GOAL = (1.0, np.inf, "nuclear")


def at_least(value: float, goal: float) -> str:
    """Whether a speed-up reaches its goal."""
    return "met" if value >= goal else f"missed: {value / goal:.0%} of {goal:g} times"


def at_most(value: float, goal: float) -> str:
    """Whether an overhead stays below its goal."""
    return "met" if value < goal else f"missed by {value / goal - 1:.0%}"


# --- solver ---------------------------------------------------------------------------------------------------------


def constraint_rows(problem: ts.SelectionProblem, selected: np.ndarray) -> np.ndarray:
    """A: the rows (x_selected - x_t) z^T, flat, of all other tokens."""
    tokens, queries = np.asarray(problem.tokens), np.asarray(problem.queries)
    n, length, _ = tokens.shape
    others = np.arange(length)[None] != selected[:, None]
    differences = tokens[np.arange(n), selected][:, None] - tokens
    return (differences[..., None] * queries[:, None, None, :])[others].reshape(n * (length - 1), -1)


def through_cvxpy(rows: np.ndarray, p: Any) -> tuple[np.ndarray, np.ndarray]:
    """(weights, multipliers) of CLARABEL."""
    dim = round(rows.shape[1] ** 0.5)
    if p == "nuclear":
        weights = cvxpy.Variable((dim, dim))
        flat, norm = cvxpy.vec(weights, order="C"), cvxpy.normNuc(weights)
    else:
        weights = flat = cvxpy.Variable(rows.shape[1])
        norm = cvxpy.norm(weights, p)
    separates = rows @ flat >= 1
    cvxpy.Problem(cvxpy.Minimize(norm), [separates]).solve(solver=cvxpy.CLARABEL)
    return np.asarray(weights.value).ravel(), np.asarray(separates.dual_value)


def certified_gap(rows: np.ndarray, p: Any, weights: np.ndarray, multipliers: np.ndarray) -> float:
    """The share of the norm that could still be saved."""
    weights = weights / np.min(rows @ weights)
    multipliers = np.maximum(multipliers, 0.0)
    pulled = multipliers @ rows
    if p == "nuclear":
        shape = (round(len(weights) ** 0.5), -1)
        norm, dual = np.linalg.norm(weights.reshape(shape), "nuc"), np.linalg.norm(pulled.reshape(shape), 2)
    else:
        conjugate = np.inf if p == 1 else 1.0 if p == np.inf else p / (p - 1.0)
        norm, dual = np.linalg.norm(weights, p), np.linalg.norm(pulled, conjugate)
    return float(1.0 - np.sum(multipliers) / dual / norm)


def solver_row(size: tuple[int, int, int], p: Any) -> tuple[Any, ...]:
    """One line of the table: sums over the problems."""
    count, repeats = SIZES[size]
    ours, theirs, our_gap, their_gap = 0.0, 0.0, 0.0, 0.0
    for number in range(count):
        problem = ts.RandomSelection(*size).sample(jax.random.key(number))
        selected = np.asarray(problem.optimal_tokens())
        rows = constraint_rows(problem, selected)
        seconds, solution = best(lambda q=problem, s=selected: ts.max_margin(q, s, p), 5)
        ours += seconds
        lagrange = solution.multipliers[np.arange(size[1])[None] != selected[:, None]]
        our_gap = max(our_gap, certified_gap(rows, p, solution.weights.ravel(), lagrange))
        seconds, answer = best(lambda a=rows: through_cvxpy(a, p), repeats, warm=False)
        theirs += seconds
        their_gap = max(their_gap, certified_gap(rows, p, *answer))
    goal = SOLVER_GOALS.get(p)
    verdict = "" if goal is None else f"{goal:g}: {at_least(theirs / ours, goal)}"
    if goal is not None and our_gap > their_gap:
        verdict += "; gap missed"
    cells = (milliseconds(ours / count), milliseconds(theirs / count), f"{theirs / ours:.1f}")
    name = p if isinstance(p, str) else f"{p:g}"
    return (", ".join(map(str, size)), name, count, *cells, f"{our_gap:.0e}", f"{their_gap:.0e}", verdict)


def benchmark_solver() -> None:
    """Table (1)."""
    through_cvxpy(np.eye(4), 2.0)  # what cvxpy does once a process
    cases = [(size, p) for size in SIZES for p in sorted(SOLVER_GOALS)]
    cases += [(size, p) for size in list(SIZES)[:2] for p in NO_GOAL]
    print("## (1) max-margin programs: max_margin against cvxpy with CLARABEL, whole calls, a problem")
    head = ("n, T, d", "p", "problems", "max_margin", "cvxpy", "times", "largest gap", "of CLARABEL", "goal")
    table(head, [solver_row(*case) for case in cases])


# --- training -------------------------------------------------------------------------------------------------------


def power(size: np.ndarray, exponent: float) -> np.ndarray:
    """size^exponent for sizes >= 0, without the power function where a root does."""
    if exponent == 1.0:
        return size
    if exponent == 0.5:
        return np.sqrt(size)
    return size * np.sqrt(size) if exponent == 1.5 else size * size if exponent == 2.0 else size**exponent


def numpy_loop(problems: ts.SelectionProblem, p: float, steps: int) -> np.ndarray:
    """Normalised mirror descent from W = 0 with the plain softmax gradient, over any leading axes of the problems."""
    tokens, queries = np.asarray(problems.tokens), np.asarray(problems.queries)
    labels, decoder = np.asarray(problems.labels), np.asarray(problems.decoder)
    scores = labels[..., None] * (tokens @ decoder[..., None, :, None])[..., 0]
    turned, conjugate, inverse = np.swapaxes(queries, -1, -2).copy(), p / (p - 1.0), 1.0 / (p - 1.0)
    dim = tokens.shape[-1]
    dual = np.zeros((*tokens.shape[:-3], dim, dim))
    weights = dual
    for _ in range(steps):
        logits = (tokens @ (queries @ np.swapaxes(weights, -1, -2))[..., None])[..., 0]
        attention = np.exp(logits - logits.max(-1, keepdims=True))
        attention /= attention.sum(-1, keepdims=True)
        outputs = (attention * scores).sum(-1, keepdims=True)
        coefficients = attention * (scores - outputs) / (1.0 + np.exp(outputs))
        pulled = (coefficients[..., None, :] @ tokens)[..., 0, :]
        gradient = turned @ pulled  # minus n times the gradient, transposed
        if p == 2.0:
            norm = np.sqrt((gradient * gradient).sum((-2, -1), keepdims=True))
        else:
            norm = power(np.abs(gradient), conjugate).sum((-2, -1), keepdims=True) ** (1.0 / conjugate)
        dual = dual + RATE * np.swapaxes(gradient / norm, -1, -2)
        weights = dual if p == 2.0 else np.copysign(power(np.abs(dual), inverse), dual)
    return weights


def torch_loop(problem: ts.SelectionProblem, p: float, steps: int) -> np.ndarray:
    """The same for one problem in torch, the gradient by autograd and the norm padded, as the authors' code does."""
    import torch

    torch.set_num_threads(1)
    tokens, queries = torch.tensor(np.asarray(problem.tokens)), torch.tensor(np.asarray(problem.queries))
    labels, decoder = torch.tensor(np.asarray(problem.labels)), torch.tensor(np.asarray(problem.decoder))
    weights = torch.zeros(tokens.shape[2], tokens.shape[2], dtype=torch.float64, requires_grad=True)
    epsilon = torch.finfo(torch.float64).eps
    for _ in range(steps):
        logits = (tokens @ (queries @ weights.T)[..., None])[..., 0]
        attended = (torch.softmax(logits, -1)[:, None, :] @ tokens)[:, 0]
        loss = torch.nn.functional.softplus(-labels * (attended @ decoder)).mean()
        weights.grad = None
        loss.backward()
        with torch.no_grad():
            gradient = weights.grad
            direction = gradient / (torch.linalg.vector_norm(gradient, p / (p - 1.0)) + epsilon)
            if p == 2.0:
                weights -= RATE * direction
            else:
                dual = weights.sign() * weights.abs() ** (p - 1.0) - RATE * direction
                weights.copy_(dual.sign() * dual.abs() ** (1.0 / (p - 1.0)))
    return weights.detach().numpy()


def training_rows(p: float) -> list[tuple[Any, ...]]:
    """The lines of one p."""
    task, algorithm = ts.RandomSelection(), ts.MirrorDescent(p, RATE, STEPS)
    first, _ = clocked(lambda: ts.simulate(task, algorithm, replicates=PROBLEMS))
    again, _ = best(lambda: ts.simulate(task, algorithm, replicates=PROBLEMS), 2, warm=False)
    with jax.enable_x64(True):
        keys = jax.random.split(jax.random.key(0), PROBLEMS)
        problems = jax.tree_util.tree_map(np.asarray, jax.vmap(task.sample)(keys))
    few = [jax.tree_util.tree_map(lambda leaf, r=r: leaf[r], problems) for r in range(5)]
    sides: list[tuple[str, float, int, Callable[[int], Any]]] = [
        ("NumPy, a problem at a time", TRAINING_GOAL, 2000, lambda k: [numpy_loop(q, p, k) for q in few])
    ]
    if find_spec("torch") is not None:
        sides += [("torch, a problem at a time", TRAINING_GOAL, 400, lambda k: [torch_loop(few[0], p, k)])]
    sides += [(f"NumPy, all {PROBLEMS} at a time", 0.0, 1000, lambda k: numpy_loop(problems, p, k))]
    # while the attention is not saturated the plain gradient is right, so all must have the same weights
    reference = ts.MirrorDescent(p, RATE, 200).train(few[0]).weights
    unit = PROBLEMS * STEPS
    whole = milliseconds
    rows = [(f"{p:g}", "simulate", whole(first), whole(again), f"{1e6 * again / unit:.2f}", "", "", "", "")]
    for name, goal, steps, run in sides:
        error = np.max(np.abs(run(200)[0] - reference)) / np.max(np.abs(reference))
        seconds, answer = best(lambda f=run, k=steps: f(k), 2, warm=False)
        each = seconds / (steps * len(answer))
        times = unit * each / first, unit * each / again
        verdict = ""
        if goal and p == 2.0:
            verdict = f"{goal:g}: first call {at_least(times[0], goal)}, warm {at_least(times[1], goal)}"
        cells = ("", whole(unit * each), f"{1e6 * each:.2f}", *(f"{ratio:.1f}" for ratio in times))
        rows.append((f"{p:g}", name, *cells, f"{error:.0e}", verdict))
    return rows


def benchmark_training() -> None:
    """Table (2)."""
    print(f"## (2) training: {PROBLEMS} problems, {STEPS} normalised steps, n, T, d = 6, 8, 10, float64")
    head = ("p", "side", "first call, with compilation", "warm", "us a problem and step", "times the first call")
    rows = [row for p in (2.0, 1.75, 3.0) for row in training_rows(p)]
    table((*head, "times the warm one", "largest difference", "goal"), rows)
    print(
        "simulate is the whole public call: it draws the problems, trains on all of them together, solves their "
        "max-margin\nprograms and measures the runs; the peers only take the steps, and their plain gradient is noise "
        "once the attention\nsaturates. The differences are relative, of one problem's weights after 200 steps."
    )
    if find_spec("torch") is None:
        print("torch is not installed, so its lines are missing.")
    print()


# --- optimiser ------------------------------------------------------------------------------------------------------


def benchmark_optimiser() -> None:
    """Table (3)."""
    print("## (3) one optimiser step on ten million float32 parameters, wall clock\n")
    print("Goal: below 2 times plain SGD of the same library, without normalisation.\n")
    for library, ratios in mirror_descent_step.report(20).items():
        found = [
            f"{name.removeprefix('mirror descent, ')} {at_most(ratio, OPTIMISER_GOAL)} ({ratio:.1f})"
            for name, ratio in ratios.items()
            if name.startswith("mirror") and "normalised" not in name
        ]
        print(f"\nGoal in {library}: {'; '.join(found)}.")
    print()


# --------------------------------------------------------------------------------------------------------------------


def main() -> None:
    """Run the parts that were asked for."""
    parts = {"solver": benchmark_solver, "training": benchmark_training, "optimiser": benchmark_optimiser}
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default=",".join(parts), help="parts, separated by commas")
    chosen = parser.parse_args().only.split(",")
    if unknown := [name for name in chosen if name not in parts]:
        parser.error(f"--only {unknown[0]!r}; accepted: {', '.join(parts)}")
    print("# Token selection\n")
    print(f"{processor()}, {one_thread.CPUS} CPUs, one thread on one of them, load average {os.getloadavg()[0]:.1f}")
    libraries = ["jax", "numpy", "scipy", "optax", "cvxpy", "clarabel"] + ["torch"] * (find_spec("torch") is not None)
    print(f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in libraries) + "\n")
    for name in chosen:
        parts[name]()
    if CLOCK["cpu"] > 0:
        print(f"Wall clock over CPU time in the timed parts: {CLOCK['wall'] / CLOCK['cpu']:.2f}; 1 on a quiet machine.")


if __name__ == "__main__":
    main()
