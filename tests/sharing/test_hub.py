"""Upload to the hub, with a client that keeps what it gets instead of sending it."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nnunet_ext import cli

pytest.importorskip("huggingface_hub")


class FakeHub:
    """What of huggingface_hub.HfApi is used; one for all, as there is one hub."""

    def __init__(self) -> None:
        self.logged_in, self.repositories, self.files = True, dict[str, bool](), dict[str, bytes]()

    def __call__(self) -> "FakeHub":
        return self

    def whoami(self) -> dict[str, str]:
        if not self.logged_in:
            raise OSError("Token is required.\nAnd more.")
        return {"name": "somebody"}

    def create_repo(self, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        self.repositories.setdefault(repo_id, private)

    def model_info(self, repo_id: str) -> Any:
        return SimpleNamespace(private=self.repositories[repo_id])

    def create_commit(self, repo_id: str, operations: list[Any], *, commit_message: str) -> Any:
        assert repo_id in self.repositories
        assert commit_message
        for one in operations:
            content = one.path_or_fileobj
            self.files[one.path_in_repo] = content if isinstance(content, bytes) else Path(content).read_bytes()
        return SimpleNamespace(commit_url=f"https://huggingface.co/{repo_id}/commit/1")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub()
    monkeypatch.setattr("huggingface_hub.HfApi", fake)
    return fake


def test_without_being_asked_nothing_is_uploaded(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    assert cli.main(["export", str(model), str(tmp_path / "out")]) == 0
    assert not hub.repositories


def test_a_folder_says_what_it_uploads(
    hub: FakeHub, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", str(model), str(tmp_path / "out"), "--hub", "lab/model", "--private"]) == 0
    assert hub.repositories == {"lab/model": True}
    on_disk = {
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()
    }
    assert hub.files.keys() == on_disk | {"README.md"}
    card = next(path for path in on_disk if path.endswith("/README.md"))
    assert hub.files["README.md"] == hub.files[card] == (tmp_path / "out" / card).read_bytes()
    said = capsys.readouterr().out
    assert "As somebody, to lab/model, private:" in said
    assert all(f"MB  {name}\n" in said for name in hub.files)
    assert said.splitlines()[-1] == "Uploaded: https://huggingface.co/lab/model/commit/1"


def test_a_zip_goes_with_its_card(hub: FakeHub, model: Path, tmp_path: Path) -> None:
    assert cli.main(["export", str(model), str(tmp_path / "out.zip"), "--hub", "lab/model"]) == 0
    assert hub.repositories == {"lab/model": False}
    assert set(hub.files) == {"out.zip", "README.md"}
    assert hub.files["out.zip"] == (tmp_path / "out.zip").read_bytes()
    assert hub.files["README.md"].startswith(b"---\nlibrary_name: nnunetv2")


def test_nothing_private_goes_to_a_public_repository(
    hub: FakeHub, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repositories["lab/model"] = False
    assert cli.main(["export", str(model), str(tmp_path / "out"), "--hub", "lab/model", "--private"]) == 1
    assert "lab/model is there and public, and --private was given: nothing was uploaded" in capsys.readouterr().err
    assert not hub.files


def test_who_is_not_logged_in_hears_it_before_the_export(
    hub: FakeHub, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.logged_in = False
    assert cli.main(["export", str(model), str(tmp_path / "out"), "--hub", "lab/model"]) == 1
    assert (
        "the hub does not know you (Token is required.): run `hf auth login`, or set HF_TOKEN"
        in capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


def test_private_without_a_hub_is_wrong_usage(model: Path, tmp_path: Path) -> None:
    assert cli.main(["export", str(model), str(tmp_path / "out"), "--private"]) == 2
