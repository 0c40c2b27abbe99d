"""What a declaration uses of `numerics`: fields that check themselves, codes, keys, recording, precision."""

from solvable.numerics.fields import Checked as Checked
from solvable.numerics.fields import array as array
from solvable.numerics.fields import converted as converted
from solvable.numerics.fields import flag as flag
from solvable.numerics.fields import real as real
from solvable.numerics.fields import whole as whole
from solvable.numerics.fields import word as word
from solvable.numerics.precision import batched_map as batched_map
from solvable.numerics.precision import float64 as float64
from solvable.numerics.random import replicate_keys as replicate_keys
from solvable.numerics.recording import log_spaced as log_spaced
from solvable.numerics.recording import pick as pick
from solvable.numerics.recording import recorded as recorded
from solvable.numerics.recording import recorded_steps as recorded_steps
from solvable.numerics.recording import recorded_times as recorded_times
from solvable.numerics.results import Result as Result
from solvable.numerics.results import SolveError as SolveError
from solvable.numerics.results import code as code
from solvable.numerics.results import raise_unless_successful as raise_unless_successful
from solvable.numerics.validation import absent as absent
from solvable.numerics.validation import instance as instance
from solvable.numerics.validation import on_the_host as on_the_host
