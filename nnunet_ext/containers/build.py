"""`nnunet-ext container build`, step by step."""

import argparse
import re
import shlex
import tempfile
from pathlib import Path

from nnunet_ext import _startup
from nnunet_ext.containers import docker
from nnunet_ext.containers.challenges import CHALLENGES, FLARE, GB, GRAND_CHALLENGE, Challenge
from nnunet_ext.containers.context import DEFAULT_BASE, Request, write_context
from nnunet_ext.containers.errors import UsageError
from nnunet_ext.containers.model import ChallengeModel, open_for
from nnunet_ext.demo.progress import Reporter
from nnunet_ext.sharing.staging import staged

_TAG = re.compile(r"[a-z0-9][a-z0-9._/-]*(:[\w.-]+)?", re.ASCII)


def run(arguments: argparse.Namespace) -> int:
    """Check the arguments and the model, write the context, build, and save; returns the exit code.

    Raises:
        UsageError, ContainerError, ValueError, OSError: what is wrong, in one sentence.
    """
    challenge = CHALLENGES[arguments.target]
    tag = arguments.tag or f"nnunet-ext-{challenge.name}"
    _check(arguments, challenge, tag)
    tag = tag if ":" in tag else f"{tag}:latest"
    if not arguments.dry_run:
        docker.check()
    request = Request(
        challenge=challenge,
        base=arguments.base or DEFAULT_BASE,
        wheels=arguments.wheels,
        step_size=arguments.step_size,
        mirroring=not arguments.disable_tta,
        inputs=arguments.inputs,
        output=arguments.output or "",
        ending=arguments.output_ending,
        tarball=arguments.model_tarball,
    )
    reporter = Reporter()
    _startup.register()  # for a Python that runs no start-up files
    model = open_for(challenge, arguments.model, arguments.folds, arguments.checkpoint, request.inputs)
    if arguments.dry_run:
        with staged(arguments.dry_run) as staging:
            _write(model, request, staging / "context", reporter)
            (staging / "context").rename(arguments.dry_run)
        command = docker.build_command(arguments.dry_run, tag, request.wheels is not None)
        reporter.say(f"Written: {arguments.dry_run}. Next: {shlex.join(command)}")
        return 0
    with tempfile.TemporaryDirectory(prefix="nnunet-ext-") as temporary:
        context = Path(temporary, "context")
        _write(model, request, context, reporter)
        with reporter.step(f"Building {tag} from {request.base}") as step:
            docker.build(context, tag, request.wheels is not None, lambda line: step.advance(0, line[:80]))
    image = docker.inspect(tag)
    reporter.say(f"Built: {tag}, {image.size / GB:.2f} GB")
    reporter.say(f"{challenge.title} allows: {challenge.limits}")
    status = say_what_is_refused(image, challenge, reporter)
    return max(status, _save(tag, arguments.save, challenge, reporter)) if arguments.save else status


def say_what_is_refused(image: docker.Image, challenge: Challenge, reporter: Reporter) -> int:
    """Say why the challenge would not take an image, before it runs it; returns the exit code."""
    if image.platform != docker.PLATFORM:
        reporter.say(f"The image is for {image.platform}; {challenge.title} runs {docker.PLATFORM}: take such a --base")
        return 1
    if challenge is GRAND_CHALLENGE and image.is_root:
        reporter.say("The image runs as root, which the platform refuses")
        return 1
    if challenge is FLARE and image.entry_point:
        reporter.say(f"The image has the entry point {' '.join(image.entry_point)}: it must run its command unchanged")
    return 0


def _check(arguments: argparse.Namespace, challenge: Challenge, tag: str) -> None:
    is_flare = challenge is FLARE
    if is_flare and (arguments.output or arguments.inputs or arguments.model_tarball):
        raise UsageError("--output, --inputs and --model-tarball belong to --target grand-challenge")
    if not is_flare and not arguments.output:
        raise UsageError("grand-challenge needs --output, the folder of the challenge's output below /output/images")
    if arguments.dry_run and arguments.save:
        raise UsageError("--dry-run builds no image, so there is nothing to --save")
    if not _TAG.fullmatch(tag):
        raise UsageError(f"--tag is {tag!r}, expected small letters, digits, . _ - and perhaps :VERSION")
    team, _, version = tag.partition(":")
    if is_flare and version not in ("", "latest"):
        raise UsageError(f"--tag is {tag}: FLARE runs TEAM:latest, so give {team}")
    for option in ("save", "model_tarball"):
        file: Path | None = getattr(arguments, option)
        if file is not None and not file.name.endswith(".tar.gz"):
            raise UsageError(f"--{option.replace('_', '-')} is {file}, expected a file that ends with .tar.gz")
    if is_flare and arguments.save and arguments.save.name.partition(".")[0].lower() != team:
        raise UsageError(
            f"--save is {arguments.save.name}: FLARE runs the image by its file's name. Give --tag that name, "
            f"or --save {team}.tar.gz"
        )


def _write(model: ChallengeModel, request: Request, folder: Path, reporter: Reporter) -> None:
    folder.mkdir()
    folds = " ".join(model.model.folds)
    with reporter.step(f"Writing the build's files: {model.model.trainer}, {model.model.configuration}, fold {folds}"):
        write_context(model, request, folder)
    if request.tarball is not None:
        size = request.tarball.stat().st_size
        reporter.say(f"Model: {request.tarball}, {size / GB:.2f} GB, to be uploaded beside the image")


def _save(tag: str, file: Path, challenge: Challenge, reporter: Reporter) -> int:
    with reporter.step(f"Saving {file}"):
        size = docker.save(tag, file)
    limit = f", of at most {challenge.largest_file / GB:.0f} GB" if challenge.largest_file else ""
    reporter.say(f"Saved: {file}, {size / GB:.2f} GB{limit}")
    if challenge.largest_file and size > challenge.largest_file:
        reporter.say(f"{challenge.title} will refuse it: take a smaller --base, or give --model-tarball")
        return 1
    return 0
