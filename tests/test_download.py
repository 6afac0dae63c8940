"""A download arrives whole and with its checksum, or not at all."""

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from nnunet_ext.download import ChecksumError, download

CONTENT = b"weights" * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Half(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:100])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def half() -> Iterator[str]:
    """The address of a server that breaks off."""
    with HTTPServer(("localhost", 0), _Half) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://localhost:{server.server_port}/file"
        server.shutdown()


@pytest.fixture
def source(tmp_path: Path) -> str:
    (tmp_path / "source").write_bytes(CONTENT)
    return (tmp_path / "source").as_uri()


def test_the_file_arrives_in_a_new_folder(source: str, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "file"
    shown: list[tuple[float, str]] = []
    download(source, target, "sha256", SHA256.upper(), lambda *progress: shown.append(progress))
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]
    assert shown == [(1.0, "0 MB")]


def test_another_file_leaves_what_was_there(source: str, tmp_path: Path) -> None:
    target = tmp_path / "cache" / "file"
    download(source, target, "sha256", SHA256)
    with pytest.raises(ChecksumError, match=f"SHA256 {SHA256}, expected {'0' * 64}"):
        download(source, target, "sha256", "0" * 64)
    assert target.read_bytes() == CONTENT
    assert list(target.parent.iterdir()) == [target]


def test_half_a_file_is_none(half: str, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=f"the connection ended after 100 of {len(CONTENT)} bytes"):
        download(half, tmp_path / "cache" / "file", "sha256", SHA256)
    assert list((tmp_path / "cache").iterdir()) == []


def test_no_network(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="refused"):
        download("http://localhost:9/file", tmp_path / "cache" / "file", "sha256", SHA256)
    assert list((tmp_path / "cache").iterdir()) == []
