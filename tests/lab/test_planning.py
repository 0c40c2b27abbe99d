"""The theory inverted: roots, turns, jumps, floors, gaps, whole numbers, and what is refused."""

import math
import re
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from solvable import lab
from solvable.lab.declare import Experiment, Observable, Outcome, Overlay, Status, axis, parameter, registry
from solvable.lab.declare.grid import numeric
from solvable.lab.planning import answer
from solvable.lab.planning.inversion import follow, invert
from solvable.lab.planning.search import Reply
from solvable.numerics.results import SolveError
from solvable.numerics.validation import integer, number
from tests.lab.toy import Ceiling, Decay, SampleMean

SLOW = ("sparse-tokens/surrogate",)  # seconds a prediction


CURVES = {
    "power": lambda x: 3.0 / x,
    "floor": lambda x: 0.2 + 0.3 / (1.0 + x),
    "parabola": lambda x: math.log10(x / 2.3) ** 2 + 0.01,
    "step": lambda x: 1.0 if x < 17.0 else 0.0,
    "line": lambda x: x,
    "flat": lambda x: 2.0,
}


class Curve(Experiment):
    """A curve of which everything is known."""

    name, source, system = "toy/curve", "a textbook, Fig. 3", __name__
    shape: Literal["power", "floor", "parabola", "step", "line", "flat"] = axis(["power", "floor"], "which curve")
    place: float = axis([0.5, 1.0, 2.0], "abscissa", log=True)
    count: int = parameter(4, "a whole number")
    offset: float = parameter(0.0, "a shift")
    bar: float = parameter(1.0, "above this the theory is not solved, in units of 1000")
    observables = (Observable("height", "height"), Observable("path", "path"))
    x = "place"
    overlays = (Overlay(), Overlay("given_path", given=True))

    def task(self):
        number("place", self.place, above=0.0, at_most=900.0)
        number("offset", self.offset, at_least=-1.0, at_most=1.0)
        integer("count", self.count, at_least=1)

    def algorithm(self):
        return None

    def predict(self, overlay, given=None):
        if self.place > 1000.0 * self.bar:
            raise SolveError("the curve's equation: the solve stopped")
        height = CURVES[self.shape](self.place) * 4.0 / self.count + self.offset
        return Outcome.of({"height": height, "path": np.zeros(3)}, 0, {"path": ("at",)})

    def amounts(self):
        return {"apples": round(100 * self.place)}

    def marginal(self, observable):
        return {"apple": -0.5} if self.shape == "power" else {}

    def tuned(self, observable):
        return {"offset": -1.0} if self.shape == "power" else {}

    @classmethod
    def status(cls, overlay):
        return {"height": Status("exact", "derived"), "path": Status("exact", "derived")}


def curve(shape, height, solve="place", **options):
    (row,) = (found := lab.plan(Curve, solve=solve, target={"height": height}, **options)).rows
    return found, row


def shaped(shape, height, solve="place", set=None, between=None):
    return curve(shape, height, solve, set={"shape": shape, **(set or {})}, between=between)


def test_a_monotone_curve_has_its_one_value():
    found, row = shaped("power", 0.0123)
    (crossing,) = row.inverse.crossings
    assert crossing.value == pytest.approx(3.0 / 0.0123, rel=1e-7)
    assert (crossing.kind, crossing.direction) == ("root", "falls")
    assert "place 243.9 = 24 390 apples; height is at most 0.0123 from there up" in str(found)
    assert "theory of height: exact, derived" in str(found)
    assert repr(found) == str(found)


def test_advice_is_given_where_the_target_is_met():
    found, row = shaped("power", 0.5)
    assert row.advice.marginal == {"apple": -0.5}
    assert row.advice.reached == pytest.approx(0.5 - 1.0)
    assert row.advice.crossing.value == pytest.approx(3.0 / 1.5, rel=1e-7)
    assert "there, one more apple changes height by -0.5" in str(found)
    assert "best there: offset=-1, with height -0.5; so tuned it meets the target at place 2 = 200 apples" in str(found)
    assert (
        lab.plan(Curve, solve="offset", target={"height": 3.5}, set={"shape": "power"}).rows[0].advice.crossing is None
    )


def test_the_words_of_an_experiment_are_side_by_side_and_its_numbers_are_not():
    found = lab.plan(Curve, solve="offset", target={"height": 3.0})
    assert [(row.cell.shape, row.cell.place) for row in found.rows] == [("power", 0.5), ("floor", 0.5)]
    assert found.rows[0].values == []
    assert "no offset from -1 to 1, where its range ends" in str(found)
    many = lab.plan(Curve, solve="offset", target={"height": 1.3}, set={"place": [2.0, 3.0], "shape": "power"})
    assert [row.values for row in many.rows] == [pytest.approx([-0.2]), pytest.approx([0.3])]
    assert "  place=2  offset -0.2" in str(many)
    assert '<tr><th scope="row">place=2</th><td>offset -0.2' in many._repr_html_()
    assert many._repr_html_().count("<p>") == len(answer.foot(many)) == 2
    assert "  place=3  offset 0.3" in str(many)


def test_a_floor_above_the_target_is_said_to_be_one():
    found, row = shaped("floor", 0.1, set={"bar": 2.0})
    assert row.values == []
    assert "never, as far as place from 0.01 to" in str(found)
    assert "height falls to 0.20" in str(found)
    assert "and levels off" in str(found)
    assert shaped("floor", 0.22)[1].values == [pytest.approx(14.0)]


def test_a_target_that_a_wider_range_may_reach_is_not_called_out_of_reach():
    found, _ = shaped("power", 1e-4, set={"bar": 0.3})
    assert (
        "no place from 0.01 to 177.8: height falls to 0.01687 at place 177.8; the theory is not solved beyond"
        in str(found)
    )
    assert "not solved at 1 of" in str(found)
    assert "the curve's equation: the solve stopped" in str(found)
    found, _ = shaped("line", 1e-7)
    assert "a wider range may reach it" in str(found)
    found, row = shaped("power", 1e-4)
    assert row.inverse.ends[1] == "edge"
    assert "no place from 0.01 to 900, where its range ends: the least height is 0.003333, at place 900" in str(found)


def test_every_crossing_of_a_curve_that_turns_is_found():
    found, row = shaped("parabola", 0.05)
    assert row.values == pytest.approx([2.3 * 10**-0.2, 2.3 * 10**0.2], rel=1e-7)
    assert [crossing.direction for crossing in row.inverse.crossings] == ["falls", "rises"]
    assert (
        "place 1.451 = 145 apples (falling) and place 3.645 = 365 apples (rising); height is at most 0.05 between"
        in str(found)
    )


def test_a_dip_between_the_points_of_the_scan_is_not_missed():
    # the scan's points near the turn are 1.78 and 3.16, where the curve is 0.0125 and 0.029
    _, row = shaped("parabola", 0.0101)
    assert row.values == pytest.approx([2.3 * 10**-0.01, 2.3 * 10**0.01], rel=1e-7)
    found, row = shaped("parabola", 0.0099)
    assert row.values == []
    assert "no place from 0.01 to 100: the least height is 0.01, at place 2.3" in str(found)
    found, row = shaped("parabola", 0.01)
    assert [crossing.kind for crossing in row.inverse.crossings] == ["touch"]
    assert row.values == pytest.approx([2.3], rel=1e-4)


def test_a_jump_across_the_target_is_a_threshold_and_no_root():
    found, row = shaped("step", 0.3)
    (crossing,) = row.inverse.crossings
    assert crossing.value == pytest.approx(17.0, rel=1e-7)
    assert (crossing.kind, crossing.before, crossing.after) == ("jump", 1.0, 0.0)
    assert "place 17 = 1 700 apples, where height jumps from 1 to 0" in str(found)
    # a target that the step stands on is met on a stretch
    (level,) = shaped("step", 0.0)[1].inverse.crossings
    assert (level.kind, level.value) == ("level", pytest.approx(17.0, rel=1e-7))


def test_a_jump_that_stops_at_the_target_is_a_jump():
    (crossing,) = invert(lambda x: Reply(0.5 * (np.sign(1.0 - x) + 1.0)), 0.5, 1.0).crossings
    assert (crossing.kind, crossing.value, crossing.before, crossing.after) == ("jump", 1.0, 1.0, 0.0)


def test_a_steep_curve_is_no_jump():
    (crossing,) = invert(lambda x: Reply(math.sqrt(abs(x - 2.0)) * math.copysign(1.0, x - 2.0)), 0.0, 1.0).crossings
    assert (crossing.kind, crossing.value) == ("root", pytest.approx(2.0, rel=1e-7))


def test_a_whole_number_is_the_first_past_the_target():
    found, row = shaped("line", 0.3, solve="count", set={"place": 1.0})  # 4/count
    (crossing,) = row.inverse.crossings
    assert (crossing.kind, crossing.value, crossing.reached) == ("whole", 14.0, pytest.approx(4.0 / 14.0))
    assert "count 14: height is 0.2857 there and 0.3077 at one less" in str(found)
    assert shaped("line", 4.0 / 11.0, solve="count", set={"place": 1.0})[1].values == [11.0]
    assert all(x == round(x) and x >= 1 for x, _ in row.inverse.tried)


def test_a_parameter_without_a_say_is_called_so():
    found, _ = shaped("flat", 1.0)
    assert "never: height does not depend on place, it is 2 at every value tried" in str(found)
    found, _ = shaped("flat", 2.0)
    assert "every place tried, place from 0.01 to" in str(found)


def test_the_search_may_be_limited():
    _, row = shaped("parabola", 0.05, between=(2.0, 4.0))
    assert row.values == pytest.approx([2.3 * 10**0.2], rel=1e-7)
    assert (row.inverse.tried[0][0], row.inverse.tried[-1][0]) == (2.0, 4.0)
    _, row = shaped("power", 3.01 / 900.0, between=(1.0, 3000.0))
    assert row.values == pytest.approx([900.0 * 3.0 / 3.01], rel=1e-6)


def test_a_crossing_where_the_theory_is_not_solved_is_a_stretch():
    def reply(x):
        return Reply(None, "stopped") if 3.0 < x < 4.0 else Reply(x)

    found = invert(reply, 3.5, 1.0)
    (crossing,) = found.crossings
    assert crossing.kind == "gap"
    assert crossing.value <= 3.0
    assert crossing.until >= 4.0
    assert found.unsolved
    assert found.message == "stopped"


def test_the_edges_of_a_domain_are_found_and_approached():
    def reply(x):
        return Reply(x) if 0.0 < x < 1.0 else Reply(None, "out of range", refused=True)

    for accepts in (lambda x: True, lambda x: 0.0 < x < 1.0):
        assert [c.value for c in invert(reply, 0.999, 0.5, accepts=accepts).crossings] == [pytest.approx(0.999)]
    closed = invert(lambda x: Reply(x) if abs(x) <= 1.0 else Reply(None, refused=True), -1.0, 0.4)
    assert ([crossing.value for crossing in closed.crossings], closed.ends) == ([-1.0], ("edge", "edge"))


def test_a_curve_followed_from_a_place_on_target_up_to_rounding():
    """Where the tuned curve meets the target at the start, there is no change of sign to be refined."""
    for slope, kind in ((1.0, "root"), (0.0, "level")):
        found = follow(lambda x, slope=slope: Reply(0.3 + 1e-14 + slope * (x - 2.0)), 0.3, 2.0)
        assert found is not None
        assert found.kind == kind
        assert found.value == pytest.approx(2.0 if slope else 2.0 * 10**-0.25)
    found = follow(lambda x: Reply(max(x, 2.0)), 2.0, 2.0 * 10**0.5)
    assert found is not None
    assert (found.kind, found.until) == ("level", pytest.approx(2.0))


def test_the_claim_is_that_of_the_answer():
    """The theory is exact below 1.2 and a guess beyond."""

    class Unsure(Curve):
        def predict(self, overlay, given=None):
            claim = Status("heuristic" if self.place > 1.2 else "exact", "derived")
            return Outcome.of(super().predict(overlay).values, 0, {"path": ("at",)}, status={"height": claim})

    for height, claim in ((1.5, "heuristic"), (6.0, "exact")):
        (row,) = lab.plan(Unsure, solve="place", target={"height": height}, set={"shape": "power"}).rows
        assert row.status is not None
        assert row.status.claim == claim


def test_a_pole_is_no_root():
    found = invert(lambda x: Reply(1.0 / (x - 1.5001)), 0.3, 1.0)
    assert [crossing.kind for crossing in found.crossings] == ["jump", "root"]
    assert found.crossings[1].value == pytest.approx(1.5001 + 1.0 / 0.3)


def test_what_is_not_accepted_is_answered_in_one_sentence():
    cases = [
        ({"solve": "shape"}, "solve: 'shape' is no number in toy/curve; accepted: 'place', 'count', 'offset', 'bar'"),
        ({"solve": "y"}, "solve: parameter 'y' is unknown in toy/curve; accepted: 'place'"),
        ({"target": {"hight": 1.0}}, "observable 'hight' is unknown in toy/curve; did you mean 'height'"),
        ({"target": {"height": math.inf}}, "target of height=inf is out of range; accepted: a finite number"),
        ({"target": {"height": 1.0, "path": 1.0}}, "accepted: one observable and its value"),
        ({"target": 0.5}, "target=0.5 is not accepted; accepted: one observable and its value"),
        ({"target": {"path": 1.0}}, "'path' has a value for each of at in toy/curve.*accepted: 'height'"),
        ({"set": {"place": 3.0}}, "set gives 'place' a value, which is solved for"),
        ({"set": {"shapes": "line"}}, "parameter 'shapes' is unknown in toy/curve; did you mean 'shape'"),
        ({"set": {"offset": 3.0}}, "offset=3 is out of range; accepted: a finite number >= -1 and <= 1"),
        ({"between": (3.0, 1.0)}, r"between=\(3, 1\) is not accepted; accepted: a lower and then a higher number"),
    ]
    for wrong, sentence in cases:
        with pytest.raises(ValueError, match=sentence):
            lab.plan(Curve, **{"solve": "place", "target": {"height": 1.0}} | wrong)
    with pytest.raises(ValueError, match="observable 'nothing' is unknown in toy/curve"):
        lab.plan(Curve, solve="place", target={"nothing": 1.0})
    with pytest.raises(ValueError, match=r"loss.*has a value for each of at"):
        lab.plan(Decay, solve="rate", target={"loss": 0.1})


def test_the_toys_of_the_lab():
    options = {"solve": "location", "target": {"mean": 0.7}}
    assert lab.plan(SampleMean, **options).rows[0].values == [pytest.approx(0.7)]
    ceiling = lab.plan(Ceiling, solve="location", target={"mean": 0.7})
    assert ceiling.rows[0].values == [pytest.approx(-0.3)]
    assert "theory 'ceiling' of mean: bound, derived; it is an upper bound" in str(ceiling)
    mixed = lab.plan(SampleMean, **options, set={"kind": ["shifted", "unsolved", "timid"]})
    assert [row.values for row in mixed.rows] == [[pytest.approx(0.2)], [], []]
    assert "kind=unsolved  not solved: the toy's equation: the solve stopped" in str(mixed)
    assert "kind=timid     kind='timid' is out of the theory's domain" in str(mixed)
    with pytest.raises(SolveError, match="the toy's equation: the solve stopped"):
        lab.plan(SampleMean, **options, set={"kind": "unsolved"})
    with pytest.raises(ValueError, match="kind='timid' is out of the theory's domain"):
        lab.plan(SampleMean, **options, set={"kind": "timid"})
    with pytest.raises(ValueError, match="no theory of toy/mean speaks of 'square' without a run; accepted: 'mean'"):
        lab.plan(SampleMean, solve="location", target={"square": 0.5})


class Careless(Curve):
    """A curve that warns, and whose hyper-parameters are not found."""

    name = "toy/careless"

    def predict(self, overlay, given=None):
        warnings.warn(f"place {self.place:.0f} is\nfar out", UserWarning, stacklevel=2)
        return super().predict(overlay, given)

    def tuned(self, observable):
        raise SolveError("tune found nothing")


def test_what_a_theory_warns_of_at_the_answer_is_told_and_missing_advice_too():
    (row,) = (found := lab.plan(Careless, solve="place", target={"height": 0.5}, set={"shape": "power"})).rows
    assert row.notes == ["place 6 is far out", "no advice: tune found nothing"]
    assert str(found).splitlines()[2:4] == ["  place 6 is far out", "  no advice: tune found nothing"]


@pytest.mark.parametrize("name", sorted(set(registry.experiments()) - set(SLOW)))
def test_every_experiment_plans_or_says_why_not(name):
    experiment = registry.find(name)
    numbers = [key for key, field in experiment.model_fields.items() if numeric(field.annotation)]
    solve = experiment.x if experiment.x in numbers else numbers[0]
    words = {key: many[-1] for key, many in experiment.default_grid().items() if key not in numbers}
    start = experiment.default_grid()[solve][0] or 1.0
    for observable in experiment.observables:
        target = {"solve": solve, "target": {observable.name: 0.123}, "set": words}
        found, refused = None, ""
        try:
            found = lab.plan(experiment, **target, between=tuple(sorted((0.8 * start, 1.25 * start))))
        except ValueError as error:
            refused = str(error)
        if found is None:
            assert "without a run" in refused or "accepted: " in refused
            continue
        assert len(found.rows) == 1
        assert found.rows[0].inverse.tried
        assert solve in str(found)
        assert observable.name in str(found)


def test_a_plan_as_its_page_shows_it(capsys):
    page = (Path(__file__).parents[2] / "docs" / "planning.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    names = {}
    exec(block, names)
    assert names["needed"] == {"logistic": pytest.approx(1.158, abs=1e-3), "square": pytest.approx(1.362, abs=1e-3)}
    assert "query_ratio 1.362 = 1 362 bags at dim 1 000" in capsys.readouterr().out
