"""What training starts from and where its gradients come from: one sequence, or the population."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from solvable.attention.self_attention.layer import Parameters
from solvable.attention.self_attention.population import gradients_of, symmetric_root, unwhitened
from solvable.attention.self_attention.streaming import attended, loss_and_gradients
from solvable.attention.self_attention.task import LinearMap, RegressionProblem
from solvable.optim.closed_form_head import closed_form_head, closed_form_head_from_moments

RIDGE = 1e-12  # of the mean square feature: a solved value layer exists for a score of lower rank too


class Source(eqx.Module):
    """Where gradients come from: a sequence, or the population, with the covariance of its tokens and its roots."""

    problem: RegressionProblem | LinearMap
    covariance: Array
    inverse: Array
    root: Array
    inverse_root: Array

    @staticmethod
    def of(problem: RegressionProblem | LinearMap) -> Source:
        """The source of a problem."""
        problem = jax.tree_util.tree_map(jnp.asarray, problem)
        if isinstance(problem, LinearMap):
            covariance = problem.covariance
        else:
            covariance = problem.tokens.T @ problem.tokens / problem.tokens.shape[0]
        root, inverse_root = symmetric_root(covariance)
        return Source(problem, covariance, inverse_root @ inverse_root, root, inverse_root)

    def least_squares(self) -> Float[Array, "m d"]:
        """M, or its least-squares estimate."""
        if isinstance(self.problem, LinearMap):
            return self.problem.matrix
        moment = self.problem.tokens.T @ self.problem.targets / self.problem.tokens.shape[0]
        return (self.inverse @ moment).T

    def gradients(self, params: Parameters) -> tuple[Array, Array, Array]:
        """The loss (the excess loss in the population) and its gradients in A and B."""
        if isinstance(self.problem, LinearMap):
            return gradients_of(params.value, params.score, self.problem.matrix, self.covariance)
        found, of = loss_and_gradients(params.value, params.score, self.problem.tokens, self.problem.targets)
        return found, of.value, of.score

    def solved(self, params: Parameters) -> Parameters:
        """The parameters with the A that is best for their B."""
        if isinstance(self.problem, LinearMap):
            passed = self.covariance @ params.score.T @ self.covariance  # Sigma B^T times the covariance
            gram = passed @ params.score @ self.covariance
            moment = passed @ self.problem.matrix.T
            ridge = RIDGE * jnp.trace(gram) / gram.shape[0]
            weights = closed_form_head_from_moments(0.5 * (gram + gram.T), moment, ridge=ridge)
        else:
            features = attended(params.score, self.problem.tokens, self.problem.tokens)
            ridge = RIDGE * jnp.mean(features * features)
            weights = closed_form_head(features, self.problem.targets, ridge=ridge).weights
        return Parameters(weights.T, params.score)

    def spectral_start(self) -> Parameters:
        """At = U s^1/2 and Bt = V s^1/2 from the singular values of M S^1/2."""
        return Parameters(*unwhitened(*spectral_factors(self.least_squares() @ self.root), self.inverse_root))

    def random_start(self, scale: Array, key: jax.Array) -> Parameters:
        """At and Bt of independent normals times the scale: the same in whitened coordinates, whatever the covariance."""
        outputs, dim = self.least_squares().shape
        normal = scale * jax.random.normal(key, (outputs + dim, dim), self.root.dtype)
        return Parameters(*unwhitened(normal[:outputs], normal[outputs:], self.inverse_root))


def spectral_factors(goal: Float[Array, "m d"]) -> tuple[Float[Array, "m d"], Float[Array, "d d"]]:
    """U s^1/2 and V s^1/2 with d columns, of the singular values s of Mt."""
    left, values, right = jnp.linalg.svd(goal, full_matrices=False)
    missing = ((0, 0), (0, goal.shape[1] - values.shape[0]))
    value, score = (jnp.pad(each * jnp.sqrt(values)[None, :], missing) for each in (left, right.T))
    return value, score
