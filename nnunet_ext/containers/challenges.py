"""What the two challenges ask for: names, places and limits.

Sources: the rules and the resource evaluation script of FLARE22 (https://flare22.grand-challenge.org); the template and
the container backend of grand-challenge.org (https://github.com/DIAGNijmegen/rse-grand-challenge-forge,
https://github.com/comic/grand-challenge.org).
"""

from dataclasses import dataclass

GB = 10**9


@dataclass(frozen=True)
class Challenge:
    """How a challenge runs a container."""

    name: str
    title: str
    memory: str
    """The most that a container may use, as Docker writes it."""
    shared_memory: str
    """The size of /dev/shm."""
    limits: str
    """In words, for whoever built an image."""
    largest_file: int | None
    """Bytes of the saved image; None where no limit is known."""


FLARE = Challenge(
    name="flare",
    title="FLARE",
    memory="28g",
    shared_memory="64m",  # Docker's default: the challenge starts containers without --shm-size
    limits="28 GB of memory, 64 MB of shared memory, 3 h for the 50 validation cases (216 s for each), one container "
    "per case",
    largest_file=None,
)
GRAND_CHALLENGE = Challenge(
    name="grand-challenge",
    title="grand-challenge.org",
    memory="15g",  # 16 GiB of an ml.g4dn.xlarge, less what is reserved
    shared_memory="128m",
    limits="10 GB for the saved image, 16 GiB of memory of which 1 is reserved, a T4 with 16 GB, no network; how many "
    "minutes a case may take, each phase says",
    largest_file=10 * GB,
)
CHALLENGES = {challenge.name: challenge for challenge in (FLARE, GRAND_CHALLENGE)}

HOME = "/opt/nnunet-ext"
"""Where everything of ours is inside an image."""
TARBALL_FOLDER = "/opt/ml/model"
"""Where grand-challenge.org extracts the tarball of a model."""
CACHES = "/tmp/nnunet-ext"
"""What is written at run time besides the outputs; both challenges give an empty, writable /tmp."""
