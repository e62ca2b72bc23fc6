"""The report's section on a search: importance, Pareto front, schedules of a population, budgets."""

from __future__ import annotations

from pathlib import Path

from report_runs import make_run

from blear.report import build
from blear.search.results import SearchResults, Trial

MIX = "stages.joint.degrade.0.factors"


def trial(number: int, **changes: object) -> Trial:
    share = number / 10
    mixture = {"1": round(1 - share, 4), "3": round(share / 2, 4), "6": round(share / 2, 4)}
    common = {
        "name": f"t{number}",
        "values": {MIX: mixture, "stages.joint.optimizer.lr": 0.001 * (number + 1), "stages.sr.kind": "ab"[number % 2]},
        "objectives": {"area": share, "worst": 1 - share},
        "curve": [],
        "looks": [(100, share / 2), (200, share)],
        "steps": 200,
        "seconds": 5.0,
    }
    return Trial.model_validate(common | changes)


def page_of(folder: Path, trials: list[Trial], **changes: object) -> str:
    """The report of a run whose search had these trials; the first one is the best."""
    run = make_run(folder / "run", arms=("even mix", "best"))
    common = {
        "objectives": ["area", "worst"],
        "metric": "CC",
        "split": "dev",
        "algorithm": "tpe",
        "asked": 20,
        "trials": trials,
        "best": trials[0].name,
        "pareto": [trials[0].name, trials[1].name],
        "importance": {MIX: 0.7, "stages.joint.optimizer.lr": 0.3},
        "baselines": [trial(5, name="even mix")],
        "seconds": 4000.0,
    }
    results = SearchResults.model_validate(common | changes)
    (run / "search.json").write_text(results.model_dump_json())
    return build(run).read_text()


def test_the_search_section_counts_trials_and_shows_importance(tmp_path: Path) -> None:
    trials = [trial(number) for number in range(9, 0, -1)]
    trials += [
        trial(3, name="late", whole=False),
        trial(0, name="lost", objectives={}, looks=[], whole=False, error="<the node> went away"),
    ]
    page = page_of(tmp_path, trials)
    text = " ".join(page.split())
    assert "20 trials were requested (tpe), 11 were run in 66 min 40 s" in text or "11 were run in 1 h 6 min" in text
    assert "9 were completed, 1 were stopped early (scheduler or budget), 1 failed" in text
    assert "<code>lost</code>: &lt;the node&gt; went away" in text
    assert "Pareto-optimal trials: t9, t8" in text
    assert f"Importance: {MIX} 0.70, stages.joint.optimizer.lr 0.30" in page
    assert "Parallel coordinates of 10 trials: values of the job and area, worst" in page
    assert f"Mixtures of {MIX}, one dot a trial" in page
    assert "The objective of the best trial at each look" in page
    assert ">best (t9)<" in page
    assert ">even mix<" in page


def test_the_best_of_a_population_is_a_schedule(tmp_path: Path) -> None:
    stairs = {"0": {"1": 0.5, "3": 0.5, "6": 0.0}, "100": {"1": 0.0, "3": 0.25, "6": 0.75}}
    trials = [trial(number, values={MIX: stairs}, objectives={"area": number / 10}) for number in (2, 1)]
    baseline = trial(5, name="even mix", values={MIX: stairs["0"]}, objectives={"area": 0.1})
    page = page_of(
        tmp_path, trials, objectives=["area"], algorithm="pbt", importance={}, pareto=["t2"], baselines=[baseline]
    )
    assert "0: (1: 0.5, 3: 0.5, 6: 0.0), 100: (1: 0.0, 3: 0.25, 6: 0.75)" in page
    assert "Importance:" not in page
    assert "No trial beats" not in page
