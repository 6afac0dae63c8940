"""`nnunet-ext container test`, step by step."""

import argparse
import tempfile
from pathlib import Path

from rich.console import Console

from nnunet_ext.containers import docker, measure, table, trial
from nnunet_ext.containers.build import say_what_is_refused
from nnunet_ext.containers.challenges import CHALLENGES, FLARE, GRAND_CHALLENGE, Challenge
from nnunet_ext.containers.errors import UsageError
from nnunet_ext.containers.jobs import find_jobs
from nnunet_ext.demo.progress import Reporter

PREFIX = "nnunet-ext."
"""Of the labels that `container build` gives to an image."""


def run(arguments: argparse.Namespace) -> int:
    """Run the image on every case, check and measure; returns the exit code.

    Raises:
        UsageError, ContainerError, OSError: what is wrong, in one sentence.
    """
    if arguments.output is not None and arguments.output.exists():
        raise UsageError(f"--output is {arguments.output}, which exists: give a new folder")
    docker.check()
    image = docker.inspect(arguments.image)
    told = {name.removeprefix(PREFIX): value for name, value in image.labels.items() if name.startswith(PREFIX)}
    challenge = _challenge(arguments, told)
    _check_tarball(arguments.model_tarball, told)
    inputs = told.get("inputs", "").split()
    jobs = find_jobs(challenge, arguments.input, inputs, told.get("output", ""), told.get("ending", ""))
    labels = arguments.labels or [int(value) for value in told.get("labels", "").split()] or None
    reporter = Reporter()
    status = say_what_is_refused(image, challenge, reporter)
    with tempfile.TemporaryDirectory(prefix="nnunet-ext-") as temporary:
        model = Path(temporary, "model") if arguments.model_tarball else None
        if model is not None:
            model.mkdir()
            trial.extract(arguments.model_tarball, model)
        how = trial.Run(
            image=arguments.image,
            challenge=challenge,
            memory=arguments.memory or challenge.memory,
            gpu=not arguments.cpu and measure.has_gpu(),
            timeout=arguments.timeout,
            model=model,
        )
        outcomes = []
        with reporter.step(f"Running {arguments.image} as {challenge.title} does", len(jobs)) as step:
            for job in jobs:
                outcomes.append(trial.run_job(job, how, labels, _place(arguments.output, challenge, job.name)))
                step.advance(len(outcomes), job.name)
    Console(highlight=False, markup=False).print(table.table(outcomes))
    if arguments.output is not None:
        table.write_json(outcomes, arguments.output / "results.json")
    failed = sum(bool(outcome.problems) for outcome in outcomes)
    reporter.say(f"{len(outcomes) - failed} of {len(outcomes)} cases pass" + ("" if how.gpu else ", without a GPU"))
    reporter.say(f"{challenge.title} allows: {challenge.limits}")
    return 1 if failed else status


def _challenge(arguments: argparse.Namespace, told: dict[str, str]) -> Challenge:
    target = arguments.target or told.get("target")
    if target not in CHALLENGES:
        raise UsageError(f"{arguments.image} does not say what it was built for: give --target")
    challenge = CHALLENGES[target]
    if challenge is GRAND_CHALLENGE and not told.get("output"):
        raise UsageError(
            f"{arguments.image} does not say where it writes: only images of nnunet-ext container build are tested as "
            "grand-challenge does"
        )
    return challenge


def _check_tarball(tarball: Path | None, told: dict[str, str]) -> None:
    if told.get("tarball") and tarball is None:
        raise UsageError("the image was built without its model: give --model-tarball")
    if tarball is not None and not told.get("tarball"):
        raise UsageError("the image has its model inside: omit --model-tarball")


def _place(folder: Path | None, challenge: Challenge, name: str) -> Path | None:
    """Where outputs are kept: FLARE's have the names of their cases, the other's all have one name."""
    if folder is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return folder if challenge is FLARE else folder / name
