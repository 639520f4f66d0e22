"""A Hugging Face hub on loopback: repositories with commits in a folder, what the clients ask for, and faults.

It answers as huggingface.co does: information on a repository at a revision, its tree, `resolve` with ETag and
X-Repo-Commit, and a redirect to another host for large files, whose bytes are asked for by range. The real
`huggingface_hub`, `transformers` and `datasets` run against it, with HF_ENDPOINT as `Hub.endpoint`.
"""

import contextlib
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

#: Suffixes of files that the hub stores apart from Git (LFS).
LARGE = (".safetensors", ".parquet", ".bin")


@dataclass
class Repository:
    """A repository of the hub.

    Attributes:
        folder: Files by commit: `folder/<commit>/…`.
        refs: Branch or tag → commit.
        gated: Whoever has no token is refused (401), and who has another one than `reader` (403).
        reader: The token of somebody who has accepted the terms.
        fault: What happens to its files, or to questions about it (`api-…`): `slow`, `cut` (the connection ends in the
            middle), `corrupt` (one bit is another), `short` (fewer bytes than the metadata says), `api-slow`,
            `api-503`, `503` (all of it).
        faulty: Names of files that the fault is for.
    """

    folder: Path
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    reader: str = ""
    fault: str = ""
    faulty: str = r".*"

    def commit_of(self, revision: str) -> str | None:
        """The commit of a branch, a tag or a commit; None: there is none."""
        commit = self.refs.get(revision, revision)
        return commit if re.fullmatch("[0-9a-f]{40}", commit) and (self.folder / commit).is_dir() else None


class Hub:
    """The hub; use it in a `with` statement.

    Attributes:
        endpoint: Its address, for HF_ENDPOINT.
        asked: `METHOD path` of all requests.
        storage: Address of the large files: another host, to which no client may send its token.
        leaked: Requests to that host that brought a token.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.asked: list[str] = []
        self.leaked: list[str] = []
        self.stopping = threading.Event()
        hub = self

        class Bound(_Handler):
            pass

        Bound.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._server.daemon_threads = True
        port = self._server.server_address[1]
        self.endpoint, self.storage = f"http://127.0.0.1:{port}", f"http://localhost:{port}"

    def __enter__(self) -> "Hub":
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def commit(self, kind: str, name: str, files: dict[str, bytes], branch: str = "main", **settings) -> str:
        """Add a commit that has exactly these files.

        Args:
            kind: `model` or `dataset`.
            name: Id, `user/name`.
            files: Content by path.
            branch: Branch, or tag, that it is from now on.
            settings: Attributes of the repository.

        Returns:
            40 hex digits.
        """
        repository = self.repositories.setdefault((kind, name), Repository(self.folder / kind / name))
        for attribute, value in settings.items():
            setattr(repository, attribute, value)
        described = [kind, name, branch, repository.refs.get(branch), *sorted(files), *(files[path] for path in files)]
        commit = hashlib.sha1(repr(described).encode()).hexdigest()
        for path, content in files.items():
            file = repository.folder / commit / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        repository.refs[branch] = commit
        return commit


def etag(path: str, content: bytes) -> str:
    """The ETag of a file: sha256 of a large one, Git's hash of another."""
    if path.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class _Refused(Exception):
    """An answer that is no success: status, the hub's code and message."""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    timeout = 30

    def log_message(self, *words: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_GET

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(f"{self.command} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            try:
                if match := re.fullmatch(r"/storage/(model|dataset)/(.+)@([0-9a-f]{40})/(.+)", path):
                    self._storage(*match.groups())
                elif match := re.fullmatch(r"/(datasets/)?(.+?)/resolve/([^/]+)/(.+)", path):
                    self._resolve("dataset" if match[1] else "model", *match.groups()[1:])
                elif match := re.fullmatch(
                    r"/api/(model|dataset)s/([^/]+/[^/]+)(?:/(revision|tree|paths-info|auth-check)(?:/([^/]+)(?:/(.+))?)?)?",
                    path,
                ):
                    self._api(*match.groups(), body)
                else:
                    self._refuse(404, "", "Sorry, we can't find the page you are looking for.")
            except _Refused as refused:
                self._refuse(*refused.args)

    # -- questions -------------------------------------------------------------------------------------------------

    def _api(self, kind: str, name: str, what: str | None, revision: str | None, path: str | None, body: bytes) -> None:
        repository = self._repository(kind, name)
        self._fail(repository, "api-")
        if what == "auth-check":
            self._let_in(repository)
            return self._json({})
        commit = self._commit(repository, revision or "main")
        files = self._files(repository, commit)
        if what in (None, "revision"):  # for everyone, also where the files are gated
            gated = "auto" if repository.gated else False
            siblings = [{"rfilename": file} for file in files]
            return self._json({"id": name, "sha": commit, "private": False, "gated": gated, "siblings": siblings})
        self._let_in(repository)
        entries = self._tree(files)
        if what == "paths-info":
            wanted = {unquote(value).strip("/") for value in parse_qs(body.decode()).get("paths", [])}
            return self._json([entry for entry in entries if entry["path"] in wanted])
        below = f"{path.strip('/')}/" if path else ""
        if below and not any(file.startswith(below) for file in files):
            raise _Refused(404, "EntryNotFound", f"{path} does not exist on {commit}")
        recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() == "true"
        listed = [entry for entry in entries if entry["path"].startswith(below)]
        return self._json([entry for entry in listed if recursive or "/" not in entry["path"][len(below) :]])

    def _resolve(self, kind: str, name: str, revision: str, path: str) -> None:
        repository = self._repository(kind, name)
        self._fail(repository, "")
        self._let_in(repository)
        commit = self._commit(repository, revision)
        file = repository.folder / commit / path
        if not file.is_file():
            raise _Refused(404, "EntryNotFound", "Entry not found", {"X-Repo-Commit": commit})
        content = file.read_bytes()
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        if not path.endswith(LARGE):
            return self._send(200, content, headers | {"ETag": f'"{etag(path, content)}"'}, repository, path)
        headers |= {
            "X-Linked-ETag": f'"{etag(path, content)}"',
            "X-Linked-Size": str(len(content)),
            "Location": f"{self.hub.storage}/storage/{kind}/{name}@{commit}/{path}",
        }
        return self._send(302, b"", headers)

    def _storage(self, kind: str, name: str, commit: str, path: str) -> None:
        if self.headers.get("Authorization"):
            self.hub.leaked.append(self.path)
        repository = self.hub.repositories[kind, name]
        content = (repository.folder / commit / path).read_bytes()
        self._send(200, content, {"Accept-Ranges": "bytes", "ETag": '"of-the-storage"'}, repository, path)

    # -- who may read what ----------------------------------------------------------------------------------------

    def _repository(self, kind: str, name: str) -> Repository:
        if repository := self.hub.repositories.get((kind, name)):
            return repository
        # Whoever has no token is not told whether it is missing or private.
        raise _Refused(404 if self.headers.get("Authorization") else 401, "RepoNotFound", "Repository not found")

    def _let_in(self, repository: Repository) -> None:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if repository.gated and not (token and token == repository.reader):
            terms = "Access to this repository is restricted."
            raise _Refused(403 if token else 401, "GatedRepo", terms)

    def _commit(self, repository: Repository, revision: str) -> str:
        if commit := repository.commit_of(revision):
            return commit
        raise _Refused(404, "RevisionNotFound", f"Invalid rev id: {revision}")

    def _files(self, repository: Repository, commit: str) -> dict[str, bytes]:
        folder = repository.folder / commit
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}

    def _tree(self, files: dict[str, bytes]) -> list[dict]:
        folders = {parent.as_posix() for path in files for parent in Path(path).parents if parent.name}
        entries = [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in sorted(folders)]
        for path, content in files.items():
            entry = {"type": "file", "path": path, "size": len(content), "oid": etag(f"{path}.git", content)}
            if path.endswith(LARGE):
                entry["lfs"] = {"oid": etag(path, content), "size": len(content), "pointerSize": 130}
            entries.append(entry)
        return entries

    # -- answers --------------------------------------------------------------------------------------------------

    def _fail(self, repository: Repository, prefix: str) -> None:
        if repository.fault in (f"{prefix}503", "503"):
            raise _Refused(503, "", "Service Unavailable")
        if prefix and repository.fault == "api-slow":
            self.hub.stopping.wait(20)

    def _json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        told = {"X-Error-Code": code, "X-Error-Message": message} if code else {}
        self._send(status, message.encode(), told | (headers or {}))

    def _send(
        self,
        status: int,
        content: bytes,
        headers: dict[str, str],
        repository: Repository | None = None,
        path: str = "",
    ) -> None:
        """Answer, by range where one is asked for, and with the repository's fault where the file is faulty."""
        fault = repository.fault if repository and re.fullmatch(repository.faulty, path) else ""
        if fault == "corrupt":
            at = content.find(b"fine") if b"fine" in content else len(content) - 9  # a text, or a weight
            content = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        if fault == "short" and self.command == "GET":
            content = content[: len(content) // 2]
        total, begin = len(content), 0
        if status == 200 and (match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")):
            begin, end = int(match[1]), int(match[2] or total - 1)
            content, status = content[begin : end + 1], 206
            headers = headers | {"Content-Range": f"bytes {begin}-{begin + len(content) - 1}/{total}"}
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "slow":
            self.hub.stopping.wait(20)
        if fault == "cut":
            # The first time half of it, nothing of the rest: a line that is dead, not one that a retry mends.
            self.wfile.write(content[: total // 2 - begin] if begin < total // 2 else b"")
            self.wfile.flush()
            self.connection.close()
            self.close_connection = True
            return
        self.wfile.write(content)
