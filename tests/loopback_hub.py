"""A Hugging Face Hub on loopback, in memory: enough of its HTTP interface for uploads, downloads and streaming.

`python -m tests.loopback_hub` prints its address and serves until its standard input closes. Clients need
HF_ENDPOINT=<address> and HF_HUB_DISABLE_XET=1. Every GET of a file's bytes is logged to standard error.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import sys
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"


class Hub:
    """Repositories as {path: bytes}, and blobs uploaded but not yet committed."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.older: dict[str, dict[str, dict[str, bytes]]] = {}  # repository -> commit before the newest -> files
        self.blobs: dict[str, bytes] = {}
        self.lock = threading.Lock()

    def revision(self, repo: str) -> str:
        digest = hashlib.sha1(repo.encode())
        for path, data in sorted(self.repos[repo].items()):
            digest.update(path.encode() + hashlib.sha256(data).digest())
        return digest.hexdigest()

    def files(self, repo: str, revision: str) -> dict[str, bytes] | None:
        """The files of an older commit, or the newest for any other revision. None: no such repository."""
        return self.older.get(repo, {}).get(revision, self.repos.get(repo))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    address: str

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        if match := re.fullmatch(rf"/datasets/{REPO}/resolve/(?P<revision>[^/]+)/(?P<path>.+)", path):
            return self.file(match["repo"], match["revision"], match["path"])
        if match := re.fullmatch(rf"/api/datasets/{REPO}(/revision/(?P<revision>[^/]+))?", path):
            return self.info(match["repo"], match["revision"] or "main")
        if match := re.fullmatch(rf"/api/datasets/{REPO}/refs", path):
            target = {"name": "main", "ref": "refs/heads/main", "targetCommit": self.hub.revision(match["repo"])}
            return self.json({"branches": [target], "tags": [], "converts": []})
        if match := re.fullmatch(rf"/api/datasets/{REPO}/tree/(?P<revision>[^/]+)(/(?P<under>.+))?", path):
            return self.tree(match["repo"], match["revision"], match["under"] or "")
        if match := re.fullmatch(rf"/api/datasets/{REPO}/commits/[^/]+", path):
            return self.commits(match["repo"])
        return self.json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})

    def do_POST(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        body = self.body()
        if path == "/api/repos/create":
            data = json.loads(body)
            repo = f"{data.get('organization') or 'me'}/{data['name']}"
            with self.hub.lock:
                self.hub.repos.setdefault(repo, {})
            return self.json({"url": f"{self.address}/datasets/{repo}", "name": repo, "id": repo})
        if path == "/api/validate-yaml":
            return self.json({"errors": [], "warnings": []})
        if match := re.fullmatch(rf"/api/datasets/{REPO}/preupload/[^/]+", path):
            files = json.loads(body)["files"]
            return self.json({"files": [self.mode(file["path"]) for file in files]})
        if match := re.fullmatch(rf"/datasets/{REPO}\.git/info/lfs/objects/batch", path):
            return self.json({"transfer": "basic", "objects": [self.slot(o) for o in json.loads(body)["objects"]]})
        if match := re.fullmatch(rf"/api/datasets/{REPO}/paths-info/[^/]+", path):
            paths = urllib.parse.parse_qs(body.decode()).get("paths", [])
            there = self.hub.repos[match["repo"]]
            return self.json([self.entry(name, there[name]) for name in paths if name in there])
        if match := re.fullmatch(rf"/api/datasets/{REPO}/commit/[^/]+", path):
            return self.commit(match["repo"], body)
        if path == "/lfs/verify":
            return self.json({})
        return self.json({"error": "not found"}, 404)

    def do_PUT(self) -> None:
        data = self.body()
        self.hub.blobs[self.path.rpartition("/")[2]] = data
        self.json({})

    def commit_of(self, repo: str, revision: str) -> str:
        return revision if revision in self.hub.older.get(repo, {}) else self.hub.revision(repo)

    def commits(self, repo: str) -> None:
        ids = [self.hub.revision(repo), *self.hub.older.get(repo, {})]
        date = "2026-01-01T00:00:00.000Z"
        self.json([{"id": one, "authors": [], "date": date, "title": "add", "message": ""} for one in ids])

    def file(self, repo: str, revision: str, path: str) -> None:
        files = self.hub.files(repo, revision)
        if files is None:
            return self.json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        if path not in files:
            return self.json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        data, status = files[path], 200
        headers = {
            "ETag": f'"{hashlib.sha256(data).hexdigest()}"',
            "X-Repo-Commit": self.commit_of(repo, revision),
            "X-Linked-Size": str(len(data)),
            "Accept-Ranges": "bytes",
        }
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(match[1]), int(match[2]) if match[2] else len(data) - 1
            headers["Content-Range"] = f"bytes {first}-{min(last, len(data) - 1)}/{len(data)}"
            data, status = data[first : last + 1], 206
        if self.command == "GET":
            print(f"GET {path} {len(data)}", file=sys.stderr, flush=True)
        self.send(data, status, "application/octet-stream", headers)

    def info(self, repo: str, revision: str) -> None:
        files = self.hub.files(repo, revision)
        if files is None:
            return self.json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        names = sorted(files)
        self.json(
            {
                "_id": "0" * 24,
                "id": repo,
                "author": repo.split("/")[0],
                "sha": self.commit_of(repo, revision),
                "private": False,
                "gated": False,
                "disabled": False,
                "tags": [],
                "downloads": 0,
                "likes": 0,
                "siblings": [{"rfilename": name} for name in names],
            }
        )

    def tree(self, repo: str, revision: str, under: str) -> None:
        files = self.hub.files(repo, revision)
        if files is None:
            return self.json({"error": "Repository not found"}, 404, {"X-Error-Code": "RepoNotFound"})
        recursive = "recursive=true" in self.path.lower()
        prefix = f"{under}/" if under else ""
        entries: dict[str, dict[str, Any]] = {}
        for name, data in sorted(files.items()):
            if not name.startswith(prefix):
                continue
            parts = name[len(prefix) :].split("/")
            for depth in range(1, len(parts) if recursive else min(2, len(parts))):
                folder = prefix + "/".join(parts[:depth])
                entries[folder] = {"type": "directory", "path": folder, "oid": "0" * 40, "size": 0}
            if recursive or len(parts) == 1:
                entries[name] = self.entry(name, data)
        if not entries and under:
            return self.json({"error": "Entry not found"}, 404, {"X-Error-Code": "EntryNotFound"})
        self.json(list(entries.values()))

    def entry(self, name: str, data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        lfs = {"oid": digest, "size": len(data), "pointerSize": 130}
        return {"type": "file", "path": name, "oid": digest[:40], "size": len(data), "lfs": lfs}

    def mode(self, path: str) -> dict[str, Any]:
        mode = "lfs" if path.endswith((".parquet", ".mp4")) else "regular"
        return {"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": None}

    def slot(self, wanted: dict[str, Any]) -> dict[str, Any]:
        actions = {
            "upload": {"href": f"{self.address}/lfs/{wanted['oid']}"},
            "verify": {"href": f"{self.address}/lfs/verify"},
        }
        return {**wanted, "authenticated": True, "actions": actions}

    def commit(self, repo: str, body: bytes) -> None:
        with self.hub.lock:
            files = self.hub.repos[repo]
            for line in body.splitlines():
                item = json.loads(line)
                value = item["value"]
                if item["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif item["key"] == "lfsFile":
                    files[value["path"]] = self.hub.blobs[value["oid"]]
                elif item["key"] == "deletedFile":
                    files.pop(value["path"], None)
        revision = self.hub.revision(repo)
        url = f"{self.address}/datasets/{repo}/commit/{revision}"
        self.json({"success": True, "commitOid": revision, "commitUrl": url, "hookOutput": ""})

    def body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def json(self, data: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self.send(json.dumps(data).encode(), status, "application/json", headers or {})

    def send(self, data: bytes, status: int, kind: str, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass  # only reads of files are logged, by `file`


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.hub = Hub()
    Handler.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(Handler.address, flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
