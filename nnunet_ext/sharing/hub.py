"""Upload of an exported model to the Hugging Face hub, with the user's own login."""

import zipfile
from pathlib import Path
from typing import Any


class Hub:
    """The user's repository `USER/NAME` on the hub; the token is the hub's own login or HF_TOKEN.

    Raises:
        ValueError: if huggingface_hub is not installed, or the name is none.
        OSError: if nobody is logged in, or the hub does not answer.
    """

    def __init__(self, repository: str):
        try:
            import huggingface_hub
        except ImportError as error:
            raise ValueError('--hub needs huggingface_hub: pip install "nnunet-ext[hub]"') from error
        if repository.count("/") != 1:
            raise ValueError(f"--hub is {repository!r}, expected USER/NAME")
        self.repository = repository
        self._api: Any = huggingface_hub.HfApi()
        self._operation = huggingface_hub.CommitOperationAdd
        try:
            self.user: str = self._api.whoami()["name"]
        except Exception as error:  # the hub's own errors and those of its connection have no class in common
            raise OSError(
                f"the hub does not know you ({_first_line(error)}): run `hf auth login`, or set HF_TOKEN"
            ) from error

    def upload(self, files: dict[str, Path | bytes], private: bool) -> str:
        """Make the repository, if it is not there, and add the files in one commit; returns its address.

        Raises:
            ValueError: if it should be private and is public.
            OSError: if the hub refuses.
        """
        try:
            self._api.create_repo(self.repository, private=private, exist_ok=True)
            is_private = self._api.model_info(self.repository).private
        except Exception as error:
            raise OSError(f"the hub refused {self.repository}: {_first_line(error)}") from error
        if private and not is_private:
            raise ValueError(f"{self.repository} is there and public, and --private was given: nothing was uploaded")
        operations = [self._operation(path_in_repo=name, path_or_fileobj=file) for name, file in files.items()]
        try:
            commit = self._api.create_commit(self.repository, operations, commit_message="Add a model of nnU-Net")
        except Exception as error:
            raise OSError(f"the hub did not take the files for {self.repository}: {_first_line(error)}") from error
        return str(commit.commit_url)


def files_to_upload(exported: Path, root: Path) -> dict[str, Path | bytes]:
    """The files of an export by their names on the hub, where the model card becomes the first page.

    Args:
        exported: the zip or the model's folder.
        root: the folder that a model's folder was exported to.
    """
    if exported.is_file():
        with zipfile.ZipFile(exported) as archive:
            (card,) = (name for name in archive.namelist() if name.endswith("/README.md"))
            return {exported.name: exported, "README.md": archive.read(card)}
    files = sorted(path for path in exported.rglob("*") if path.is_file())
    named: dict[str, Path | bytes] = {path.relative_to(root).as_posix(): path for path in files}
    return named | {"README.md": exported / "README.md"}


def size(file: Path | bytes) -> int:
    """In bytes."""
    return len(file) if isinstance(file, bytes) else file.stat().st_size


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
