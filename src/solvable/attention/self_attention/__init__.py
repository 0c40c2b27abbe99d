"""Self-attention: one softmax layer fitted to linear regression, whose limit is a matrix factorisation."""

from solvable.attention.self_attention.algorithms import PreconditionedDescent as PreconditionedDescent
from solvable.attention.self_attention.algorithms import RegressionRun as RegressionRun
from solvable.attention.self_attention.algorithms import TrainingPath as TrainingPath
from solvable.attention.self_attention.algorithms import best_learning_rate as best_learning_rate
from solvable.attention.self_attention.layer import Parameters as Parameters
from solvable.attention.self_attention.layer import attend as attend
from solvable.attention.self_attention.layer import effective_tokens as effective_tokens
from solvable.attention.self_attention.layer import loss as loss
from solvable.attention.self_attention.outcome import RegressionOutcome as RegressionOutcome
from solvable.attention.self_attention.population import context_constant as context_constant
from solvable.attention.self_attention.population import excess_loss as excess_loss
from solvable.attention.self_attention.population import population_loss as population_loss
from solvable.attention.self_attention.population import score_norm as score_norm
from solvable.attention.self_attention.scale import best_scale as best_scale
from solvable.attention.self_attention.simulate import simulate as simulate
from solvable.attention.self_attention.task import LinearMap as LinearMap
from solvable.attention.self_attention.task import RegressionProblem as RegressionProblem
from solvable.attention.self_attention.theories import theories as theories
from solvable.attention.self_attention.theory import predict as predict
