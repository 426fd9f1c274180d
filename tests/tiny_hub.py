"""A Hugging Face hub on 127.0.0.1: as much of its protocol as fetching uses, and faults on demand."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import sleep  # by name: tests replace that of the module
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

_LFS = (".safetensors", ".pth", ".model", ".bin")


def hub_environment(monkeypatch: pytest.MonkeyPatch, hub: TinyHub, folder: Path) -> None:
    """Let this process, and those that it starts, know this hub only, and a cache in `folder`."""
    for name in ("WORLDKV_CHECKPOINTS", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setenv("HF_HOME", str(folder / "hf"))
    monkeypatch.setenv("HF_TOKEN", "")
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(folder / "hf" / "token"))


@lru_cache
def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@lru_cache
def git_blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class TinyRepo:
    """A repository with one commit.

    Attributes:
        files: Content by path.
        gated: Whether only tokens of `readers` may fetch; the list of files is public.
        readers: Tokens that have been let in.
        revisions: Names of the commit.
    """

    files: dict[str, bytes]
    gated: bool = False
    readers: tuple[str, ...] = ()
    revisions: tuple[str, ...] = ("main",)

    @property
    def commit(self) -> str:
        parts = [f"{path}:{sha256(data)}" for path, data in sorted(self.files.items())]
        return hashlib.sha1("\n".join(parts).encode()).hexdigest()

    def sibling(self, path: str) -> dict[str, Any]:
        data = self.files[path]
        told: dict[str, Any] = {"rfilename": path, "size": len(data), "blobId": git_blob_id(data)}
        if path.endswith(_LFS):
            told["blobId"] = git_blob_id(b"pointer to " + sha256(data).encode())
            told["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 135}
        return told

    def etag(self, path: str) -> str:
        data = self.files[path]
        return sha256(data) if path.endswith(_LFS) else git_blob_id(data)


@dataclass
class Fault:
    """What goes wrong with the next requests for contents.

    Attributes:
        times: How often; it is counted down.
        status: Answer with this HTTP status.
        cut_after: Close the connection after so many bytes of content.
        wrong_bytes: Send as many bytes as promised, but others.
        wrong_size: Send a different number of bytes than the list says.
        ignore_range: Send everything, whatever range was asked for.
        hold: Send what `cut_after` says, then wait for this event.
        then: What goes wrong after these times.
    """

    times: int = 1
    status: int = 0
    cut_after: int | None = None
    wrong_bytes: bool = False
    wrong_size: bool = False
    ignore_range: bool = False
    hold: threading.Event | None = None
    then: Fault | None = None


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    first_byte: int | None
    token: str | None
    agent: str


@dataclass
class TinyHub:
    """The hub's state. Faults are keyed by the path of a file in its repository, or "api" for the list."""

    repos: dict[str, TinyRepo]
    faults: dict[str, Fault] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    endpoint: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def contents(self) -> list[Asked]:
        """Requests for contents of files."""
        return [each for each in self.asked if each.method == "GET" and "/resolve/" in each.path]

    def names(self) -> list[str]:
        """Files whose contents were asked for, by name."""
        return [each.path.rpartition("/")[2] for each in self.contents()]

    def fault(self, key: str) -> Fault | None:
        with self.lock:
            fault = self.faults.get(key)
            while fault is not None and fault.times == 0:
                fault = fault.then
            if fault is not None:
                fault.times -= 1
            return fault


def lingbot_repos() -> dict[str, TinyRepo]:
    """All repositories of LingBot with small files of random bytes, unneeded ones among them."""
    draw = random.Random(0).randbytes
    tokenizer = {
        "spiece.model": draw(3_000),
        "tokenizer_config.json": b"{}",
        "special_tokens_map.json": b"{}",
    }
    index = b'{"metadata": {}}'
    return {
        "robbyant/lingbot-world-base-cam": TinyRepo(
            {
                "README.md": b"card",
                "Wan2.1_VAE.pth": draw(50_000),
                "models_t5_umt5-xxl-enc-bf16.pth": draw(90_000),
                "high_noise_model/diffusion_pytorch_model.safetensors": draw(1_000),
                "low_noise_model/diffusion_pytorch_model.safetensors": draw(1_000),
                **{f"google/umt5-xxl/{name}": data for name, data in tokenizer.items()},
            }
        ),
        "robbyant/lingbot-world-fast": TinyRepo(
            {
                "README.md": b"card",
                "assets/picture.png": draw(1_000),
                "diffusion_pytorch_model.safetensors.index.json": index,
                **{f"model-{n:05}-of-00002.safetensors": draw(400_000) for n in (1, 2)},
            }
        ),
        "robbyant/lingbot-world-v2-14b-causal-fast": TinyRepo(
            {
                "transformers/diffusion_pytorch_model.safetensors.index.json": index,
                "transformers/diffusion_pytorch_model-00001-of-00001.safetensors": draw(5_000),
            }
        ),
        "robbyant/lingbot-world-fast-diffusers": TinyRepo(
            {
                "model_index.json": b"{}",
                "transformer/diffusion_pytorch_model.safetensors": draw(5_000),
                "vae/diffusion_pytorch_model.safetensors": draw(5_000),
                "text_encoder/model.safetensors": draw(5_000),
                **{f"tokenizer/{name}": data for name, data in tokenizer.items()},
            }
        ),
    }


@contextmanager
def tiny_hub(repos: Mapping[str, TinyRepo]) -> Iterator[TinyHub]:
    """Serve repositories while the block runs."""
    hub = TinyHub(dict(repos))
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        for fault in hub.faults.values():
            if fault.hold is not None:
                fault.hold.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up, as an interrupted one does, is nothing to report."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    hub: TinyHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        asked_range = self.headers.get("Range", "")
        first = int(asked_range.removeprefix("bytes=").partition("-")[0]) if asked_range else None
        agent = self.headers.get("User-Agent", "")
        self.hub.asked.append(Asked(self.command, path, first, token, agent))
        if path.startswith("/api/models/"):
            self._list(path.removeprefix("/api/models/"))
        elif "/resolve/" in path:
            repo, _, rest = path.lstrip("/").partition("/resolve/")
            revision, _, name = rest.partition("/")
            self._content(repo, revision, name, first, token)
        else:
            self._refuse(404, "EntryNotFound")

    def _list(self, rest: str) -> None:
        name, _, revision = rest.partition("/revision/")
        repo = self.hub.repos.get(name)
        if fault := self.hub.fault("api"):
            self._refuse(fault.status, "")
        elif repo is None:
            self._refuse(401, "RepoNotFound")
        elif (revision or "main") not in (*repo.revisions, repo.commit):
            self._refuse(404, "RevisionNotFound")
        else:
            told = {
                "id": name,
                "modelId": name,
                "sha": repo.commit,
                "gated": "manual" if repo.gated else False,
                "private": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "siblings": [repo.sibling(path) for path in repo.files],
            }
            body = json.dumps(told).encode()
            self._send(200, {"Content-Type": "application/json"}, body)

    def _content(self, name: str, revision: str, path: str, first: int | None, token: str | None) -> None:
        repo = self.hub.repos.get(name)
        if repo is None:
            return self._refuse(401, "RepoNotFound")
        if repo.gated and token not in repo.readers:
            return self._refuse(403 if token else 401, "GatedRepo")
        if revision not in (*repo.revisions, repo.commit):
            return self._refuse(404, "RevisionNotFound")
        if path not in repo.files:
            return self._refuse(404, "EntryNotFound")
        data = repo.files[path]
        headers = {
            "ETag": f'"{repo.etag(path)}"',
            "X-Repo-Commit": repo.commit,
            "X-Linked-Size": str(len(data)),
            "Accept-Ranges": "bytes",
        }
        if self.command == "HEAD":
            return self._send(200, {**headers, "Content-Length": str(len(data))}, b"")
        fault = self.hub.fault(path) or Fault()
        if fault.status:
            return self._refuse(fault.status, "")
        if fault.wrong_bytes:
            data = bytes(byte ^ 255 for byte in data)
        if fault.wrong_size:
            data = data + b"more"
        if first is None and path.endswith(".json") and "gzip" in self.headers.get("Accept-Encoding", ""):
            return self._send(200, {**headers, "Content-Encoding": "gzip"}, gzip.compress(data))
        start = 0 if fault.ignore_range or first is None else first
        if start and start >= len(data):
            return self._send(416, {"Content-Range": f"bytes */{len(data)}"}, b"")
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self._send(206 if start else 200, headers, data[start:], fault)

    def _refuse(self, status: int, code: str) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": code or "as ordered"}
        self._send(status, headers, b"")

    def _send(self, status: int, headers: dict[str, str], body: bytes, fault: Fault | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault is not None and fault.cut_after is not None:
            self.wfile.write(body[: fault.cut_after])
            self.wfile.flush()
            if fault.hold is not None:
                fault.hold.wait(30)
            sleep(0.01)  # what was sent arrives before the end does
            self.close_connection = True
            return
        self.wfile.write(body)
