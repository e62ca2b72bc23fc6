"""Job files and overrides that nobody would write: each is read or refused, in bounded time and memory."""

import base64
from pathlib import Path

import pytest
from fuzzing import fuzz, mutated

from blear.errors import JobError
from blear.job.reader import read_job

REPOSITORY = Path(__file__).resolve().parents[3]
INPUTS = 3000
JOB = b"""name: small
plugins: []
max_broken: 3
data:
  faces: {use: faces/procedural, size: 48, stand_in: {use: procedural, degrade: [{use: random_flip}]}}
  "x-{n}": {use: t91, source: ., shards: "http://host/a", matrix: {n: [1, 2]}}
stages:
  a: &first
    data: faces
    backbone: {use: cnn5x5, width: 0.1}
    head: {use: valence}
    optimizer: {lr: 0.01}
    steps: 2
  "clean{factor}":
    <<: *first
    matrix: {factor: [1, 2]}
    degrade: [{use: downscale, factor: "{factor}"}]
    backbone: {use: cnn5x5, width: 0.1, start_from: {stage: a, take: ["conv*"]}}
    head: {use: valence}
    optimizer: {lr: 0.01, scale_lr: {"*.bias": 2}}
    steps: 3
    validate: {every: 2}
evaluate:
  sweep: {use: downscale, over: {factor: [1, 2]}}
  arms: {clean: {stage: "clean{factor}"}}
cluster: {workers: [1, 2]}
profiles:
  longer: {"stages.clean{factor}.steps": 30, "stages.*.batch_size": 7}
"""
TOKENS = tuple(
    token.encode()
    for token in (
        *(
            "&a ",
            "*a",
            "<<: *a",
            "!!binary x",
            "!!python/object:os.system x",
            "!!set {a}",
            "? [a, b]\n: c",
            "%YAML 9.9\n---\n",
        ),
        *(
            "{",
            "}",
            "[",
            "]",
            ": ",
            "- ",
            "\n",
            "\t",
            "#",
            "|\n",
            ">-\n",
            "'",
            '"',
            '"\\0"',
            '"\\uD800"',
            "---\n",
            "...\n",
        ),
        *(
            "2020-13-45",
            "1e999",
            "-0x" + "f" * 40,
            ".nan",
            "null",
            "~",
            "~nobody/x",
            "true",
            "1_0",
            "0o8",
            "9" * 60,
            "é",
            "\U0001f600",
        ),
        *("{factor}", "{n}", "matrix: {a: [1, 2], b: [3]}", "use: ", "faces/procedural", "*", ".", "\ufeff", "a" * 300),
    )
)
SETS = (
    *("stages.a.steps", "stages.clean{factor}.steps", "stages.*.steps", "stages.clean{factor}.degrade.0.factor"),
    *("*", "", ".", "a..b", "0", "**.*", "data", "data.[a", "data.faces.x.y", "data.faces.targets.0"),
    *("evaluate.arms.*.stage", "plugins", "name", "profiles.longer", "cluster.workers.1"),
)


def inputs(rng, folder):
    """Endless (what is tried, call)."""
    file = folder / "job.yaml"
    jobs = [JOB, *(path.read_bytes() for path in sorted((REPOSITORY / "jobs").glob("*.yaml"))[:1])]

    def read(data, **options):
        file.write_bytes(data)
        return read_job(file, **options)

    while True:
        kind = rng.random()
        data = jobs[1] if kind < 0.02 else JOB
        if kind < 0.6:
            data = mutated(rng, data, TOKENS)
            yield data, lambda data=data: read(data, profile=rng.choice((None, None, "longer", "\0")))
        elif kind < 0.8:
            data = b"".join(rng.choice(TOKENS) for _ in range(rng.randrange(40)))
            yield data, lambda data=data: read(data)
        else:
            value = b"".join(rng.choice(TOKENS) for _ in range(rng.randrange(6))).decode()
            text = rng.choice(SETS) + rng.choice(("=", "=", "=", "")) + value
            text = mutated(rng, text.encode()).decode(errors="replace") if rng.random() < 0.5 else text
            yield text.encode(), lambda text=text: read(JOB, overrides=[text])


@pytest.mark.parametrize("seed", [0])
def test_mutated_jobs_are_read_or_refused(seed):
    result = fuzz(__file__, seed, INPUTS)
    assert result["failures"] == []
    assert result["ran"] == INPUTS
    assert len(result["refused"]) > 10  # the mutations reach different checks


def test_the_unmutated_job_is_valid(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_bytes(JOB)
    job, _ = read_job(file, profile="longer")
    assert list(job.stages) == ["a", "clean1", "clean2"]
    assert job.stages["clean2"].degrade[0].params == {"factor": 2}
    assert [stage.steps for stage in job.stages.values()] == [2, 30, 30]


def bomb(depth):
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, depth)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (bomb(40), "too many values"),
        ("a: &a [*a]", "a: unknown key"),
        ("a: &a {b: *a}", "a: unknown key"),
        ("a: " + "[" * 5000, "nested"),
        ("a: " + "{b: " * 200 + "1" + "}" * 200, "nested"),
        ("a: 2020-13-45", "not valid YAML"),
        ("a: " + "9" * 5000, "not valid YAML"),
        ("a: 0x" + "f" * 5000, "integer"),
        ("a: " + "x" * 300_000, "more than"),
        ("a: 1\na: 2", "not valid YAML"),
        ("- 1", "a job file is a mapping"),
        ("", "a job file is a mapping"),
        ("%YAML 9.9\n---\na: 1", "not valid YAML"),
    ],
    ids=range(13),
)
def test_pathological_documents_are_errors(tmp_path, text, problem):
    file = tmp_path / "job.yaml"
    file.write_text(text)
    with pytest.raises(JobError) as caught:
        read_job(file)
    assert problem in str(caught.value)


def test_a_matrix_too_large_to_expand_is_refused(tmp_path):
    file = tmp_path / "job.yaml"
    matrix = ", ".join(f"k{n}: [1, 2, 3, 4, 5, 6, 7, 8]" for n in range(12))
    file.write_text(f"name: a\ndata: {{x: {{use: procedural, matrix: {{{matrix}}}}}}}\nstages: {{}}\n")
    with pytest.raises(JobError, match="the matrix makes 68719476736 entries"):
        read_job(file)


def test_matrix_values_are_substituted_once(tmp_path):
    """Else each key could double the text of the one before."""
    file = tmp_path / "job.yaml"
    fill = ", ".join(f"k{n}: ['{{k{n + 1}}}{{k{n + 1}}}']" for n in range(40))
    file.write_text(f"name: a\ndata: {{'{{k0}}': {{use: procedural, size: 7, matrix: {{{fill}}}}}}}\nstages: {{}}\n")
    with pytest.raises(JobError, match=r"data\.\{k1\}\{k1\}"):
        read_job(file)


def test_templates_with_many_placeholders_match_in_linear_time(tmp_path):
    file = tmp_path / "job.yaml"
    text = (
        JOB.decode()
        .replace('stage: "clean{factor}"', 'stage: "' + "{a}x" * 60 + '"')
        .replace("  a: ", f"  {'yx' * 40}: ")
    )
    file.write_text(text)
    with pytest.raises(JobError, match="there is no stage"):
        read_job(file)


if __name__ == "__main__":  # python test_fuzz_jobs.py SEED COUNT: a longer run by hand
    import sys

    found = fuzz(__file__, int(sys.argv[1]), int(sys.argv[2]), timeout=3600)
    for failure in found["failures"][:10]:
        text, _, data = failure.rpartition("input ")
        sys.stdout.write(f"{text}\n{base64.b64decode(data)!r}\n\n")
    sys.stdout.write(f"{found['ran']} inputs, {found['accepted']} accepted, {len(found['failures'])} failures\n")
