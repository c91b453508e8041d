"""Downloads from a Hub on loopback: pinned, resumed after a kill, and clear about what went wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from bad_robot_behavior.curation.sources import download
from bad_robot_behavior.errors import SourceError
from tests.loopback_hub import Handler, Hub

DUMP = "RoboArena/DataDump_test"
BIG = 24 * 2**20  # the Hub client writes in blocks of 10 MiB, so two of them are on disk when the transfer stalls
STALL_AT = 21 * 2**20


class Recorder(Handler):
    """The loopback Hub with a log of what was asked for, and a fault in the middle of a large file."""

    requests: list[tuple[str, str, str | None]]
    fault: str | None  # what happens in the middle of the large file: None, "stall", "drop", "flip"
    reached: threading.Event
    refuse: int | None

    def do_GET(self) -> None:  # noqa: N802  the name that http.server calls
        self.requests.append((self.command, self.path, self.headers.get("Range")))
        if self.refuse is not None:
            return self.json({"error": "no"}, self.refuse)
        return super().do_GET()

    def send(self, data: bytes, status: int, kind: str, headers: dict[str, str]) -> None:
        if self.command == "GET" and self.fault and len(data) > STALL_AT:
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data[:STALL_AT])
            self.wfile.flush()
            self.reached.set()
            if self.fault == "stall":
                self.rfile.read()  # until the client is gone
            self.close_connection = True
            return
        if self.command == "GET" and self.fault == "flip" and data.startswith(b"bbb"):
            data = b"x" + data[1:]  # of the same length, under the hash of what it should be
        super().send(data, status, kind, headers)


@pytest.fixture
def hub() -> Iterator[type[Recorder]]:
    handler = type("OneTest", (Recorder,), {"hub": Hub(), "requests": [], "refuse": None, "fault": None})
    handler.reached = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.address = f"http://127.0.0.1:{server.server_port}"
    files = {"README.md": b"# dump\n", "global_metadata.yaml": b"total_sessions: 3\n"}
    for session in ("aaa", "bbb", "ccc"):
        files[f"evaluation_sessions/{session}/metadata.yaml"] = b"preference: A\n"
        files[f"evaluation_sessions/{session}/A_pi0/pi0_video_left.mp4"] = session.encode() * 100
    handler.hub.repos[DUMP] = files
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield handler
    server.shutdown()
    server.server_close()


def start(folder: Path, endpoint: str, home: Path, **arguments: Any) -> subprocess.Popen[str]:
    code = (
        "import json, sys\n"
        "from pathlib import Path\n"
        "from bad_robot_behavior.curation.sources.download import download_roboarena\n"
        "from bad_robot_behavior.errors import SourceError\n"
        "arguments = json.loads(sys.argv[2])\n"
        "try:\n"
        "    print(download_roboarena(Path(sys.argv[1]), **arguments))\n"
        "except SourceError as error:\n"
        "    sys.exit(f'SourceError: {error}')\n"
    )
    kept = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment = {
        **kept,
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
    }
    command = [sys.executable, "-c", code, str(folder), json.dumps({"dump": DUMP, **arguments})]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def fetch(folder: Path, endpoint: str, home: Path, **arguments: Any) -> tuple[int, str]:
    process = start(folder, endpoint, home, **arguments)
    out, err = process.communicate(timeout=120)
    return process.returncode, out + err


def files(folder: Path) -> list[str]:
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.relative_to(folder).parts
    )


def test_a_dump_is_fetched_whole_and_pinned(hub: type[Recorder], tmp_path: Path) -> None:
    folder = tmp_path / "dump"
    code, said = fetch(folder, hub.address, tmp_path / "home")
    assert code == 0, said
    assert files(folder) == sorted([*hub.hub.repos[DUMP], download.PIN])
    for name, data in hub.hub.repos[DUMP].items():
        assert (folder / name).read_bytes() == data
    revision = hub.hub.revision(DUMP)
    pin = json.loads((folder / download.PIN).read_text())
    assert pin == {"dump": DUMP, "revision": revision, "limit": None, "complete": True}
    hub.requests.clear()
    assert fetch(folder, hub.address, tmp_path / "home")[0] == 0
    assert hub.requests == []  # what is complete is not asked for again


def test_first_sessions_then_more_of_the_same_revision(hub: type[Recorder], tmp_path: Path) -> None:
    folder = tmp_path / "dump"
    code, said = fetch(folder, hub.address, tmp_path / "home", limit=1)
    assert code == 0, said
    pinned = hub.hub.revision(DUMP)
    assert {name.split("/")[1] for name in files(folder) if "/" in name} == {"aaa"}
    assert (folder / "global_metadata.yaml").is_file()
    hub.hub.repos[DUMP]["evaluation_sessions/zzz/metadata.yaml"] = b"uploaded meanwhile\n"
    hub.requests.clear()
    code, said = fetch(folder, hub.address, tmp_path / "home", limit=2)
    assert code == 0, said
    assert {name.split("/")[1] for name in files(folder) if "/" in name} == {"aaa", "bbb"}
    asked = [path for _, path, _ in hub.requests if "/resolve/" in path or "/tree/" in path]
    assert asked and all(pinned in path for path in asked)


WRIST = "evaluation_sessions/bbb/A_pi0/pi0_video_wrist.mp4"


def test_killed_in_the_middle_it_goes_on_with_what_is_missing(hub: type[Recorder], tmp_path: Path) -> None:
    folder = tmp_path / "dump"
    hub.hub.repos[DUMP][WRIST] = bytes(range(256)) * (BIG // 256)
    hub.fault = "stall"
    process = start(folder, hub.address, tmp_path / "home")
    assert hub.reached.wait(60)
    while not all((folder / name).is_file() for name in hub.hub.repos[DUMP] if name != WRIST):
        assert process.poll() is None
    process.kill()
    process.communicate()
    assert not (folder / WRIST).exists()
    assert json.loads((folder / download.PIN).read_text())["complete"] is False
    hub.fault = None
    hub.requests.clear()
    code, said = fetch(folder, hub.address, tmp_path / "home")
    assert code == 0, said
    assert (folder / WRIST).read_bytes() == hub.hub.repos[DUMP][WRIST]
    fetched = [path for command, path, _ in hub.requests if command == "GET" and "/resolve/" in path]
    assert len(fetched) == 1 and fetched[0].endswith(WRIST)
    assert not list(folder.rglob("*.incomplete"))


def test_a_connection_that_breaks_goes_on_where_it_stopped(hub: type[Recorder], tmp_path: Path) -> None:
    folder = tmp_path / "dump"
    hub.hub.repos[DUMP][WRIST] = bytes(range(256)) * (BIG // 256)
    hub.fault = "drop"  # only answers of more than 21 MiB are cut, so the rest comes whole
    code, said = fetch(folder, hub.address, tmp_path / "home")
    assert code == 0, said
    assert (folder / WRIST).read_bytes() == hub.hub.repos[DUMP][WRIST]
    ranges = [span for command, path, span in hub.requests if command == "GET" and path.endswith(WRIST)]
    assert ranges == [None, f"bytes={20 * 2**20}-"]


KNOWN = download.DEFAULT_DUMP
KNOWN_COMMIT = download.DUMPS[KNOWN].revision_prefix + "0" * 32


def test_a_known_dump_is_fetched_at_the_commit_that_is_known(hub: type[Recorder], tmp_path: Path) -> None:
    before = dict(hub.hub.repos[DUMP])
    hub.hub.repos[KNOWN] = {**before, "README.md": b"changed since", "evaluation_sessions/000/metadata.yaml": b"new"}
    hub.hub.older[KNOWN] = {"f" * 40: before, KNOWN_COMMIT: before}
    folder = tmp_path / "dump"
    code, said = fetch(folder, hub.address, tmp_path / "home", dump=KNOWN, limit=3)  # all of it needs 18 GB free
    assert code == 0, said
    newest = hub.hub.revision(KNOWN)
    assert f"is at {newest} now; fetching {KNOWN_COMMIT}" in said
    assert files(folder) == sorted([*before, download.PIN])
    assert (folder / "README.md").read_bytes() == before["README.md"]
    assert json.loads((folder / download.PIN).read_text())["revision"] == KNOWN_COMMIT
    code, said = fetch(tmp_path / "newest", hub.address, tmp_path / "home", dump=KNOWN, limit=1, revision=newest)
    assert code == 0, said
    assert "evaluation_sessions/000/metadata.yaml" in files(tmp_path / "newest")


def test_a_known_commit_that_is_gone_stops_the_download(hub: type[Recorder], tmp_path: Path) -> None:
    hub.hub.repos[KNOWN] = hub.hub.repos[DUMP]
    hub.hub.older[KNOWN] = {"f" * 40: hub.hub.repos[DUMP]}
    code, said = fetch(tmp_path / "dump", hub.address, tmp_path / "home", dump=KNOWN, limit=1)
    newest = hub.hub.revision(KNOWN)
    assert code == 1 and said.startswith(f"SourceError: {KNOWN}: is at {newest} now") and "Traceback" not in said
    assert f"--revision {newest}" in said
    assert not (tmp_path / "dump").exists()


def test_the_newest_of_an_unknown_dump_is_fetched_and_that_is_said(hub: type[Recorder], tmp_path: Path) -> None:
    code, said = fetch(tmp_path / "dump", hub.address, tmp_path / "home")
    assert code == 0, said
    assert f"{DUMP}: no commit of it is known here; fetching the newest, {hub.hub.revision(DUMP)}" in said
    code, said = fetch(tmp_path / "other", hub.address, tmp_path / "home", revision="main")
    assert code == 0 and "known here" not in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"dump": "RoboArena/nosuch"}, "is not on the Hub. Known dumps: RoboArena/DataDump_08-05-2025"),
        ({"dump": "not a/name at all"}, "is not the name of a dataset"),
        ({"limit": 0}, "limit is 0"),
    ],
)
def test_what_cannot_be_asked_for(hub: type[Recorder], tmp_path: Path, arguments: dict[str, Any], says: str) -> None:
    code, said = fetch(tmp_path / "dump", hub.address, tmp_path / "home", **arguments)
    assert code == 1 and said.startswith("SourceError: ") and says in said
    assert not (tmp_path / "dump").exists()


def test_a_hub_that_refuses(hub: type[Recorder], tmp_path: Path) -> None:
    hub.refuse = 403
    code, said = fetch(tmp_path / "dump", hub.address, tmp_path / "home")
    assert code == 1 and "the Hub answered 403" in said and "Traceback" not in said


def test_no_network(tmp_path: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        closed = f"http://127.0.0.1:{server.server_port}"
    code, said = fetch(tmp_path / "dump", closed, tmp_path / "home")
    assert code == 1 and "Check the network" in said and "Traceback" not in said


def test_no_network_for_the_rest(hub: type[Recorder], tmp_path: Path) -> None:
    # snapshot_download alone returns the folder as it is then, with no more than a warning.
    folder = tmp_path / "dump"
    assert fetch(folder, hub.address, tmp_path / "home", limit=1)[0] == 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        closed = f"http://127.0.0.1:{server.server_port}"
    code, said = fetch(folder, closed, tmp_path / "home")
    assert code == 1 and said.startswith("SourceError") and "Traceback" not in said
    pin = json.loads((folder / download.PIN).read_text())
    assert (pin["limit"], pin["complete"]) == (1, True)  # what it held before, it still holds


def test_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    folder = tmp_path / "dump"
    folder.mkdir()
    (folder / "thesis.tex").touch()
    with pytest.raises(SourceError, match="holds no download of ours"):
        download.download_roboarena(folder, dump=DUMP)
    pin = {"dump": DUMP, "revision": "a" * 40, "limit": None, "complete": True}
    (folder / download.PIN).write_text(json.dumps(pin))
    with pytest.raises(SourceError, match="Give another folder"):
        download.download_roboarena(folder)
    with pytest.raises(SourceError, match="is pinned to revision a"):
        download.download_roboarena(folder, dump=DUMP, revision="b" * 40)
    (folder / download.PIN).write_text(json.dumps({**pin, "revision": "../../etc"}))
    with pytest.raises(SourceError, match="Delete it to start anew"):
        download.download_roboarena(folder, dump=DUMP)


def test_too_little_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(download.DUMPS, DUMP, download.Dump(10.0**9, 5, 10, "aaaaaaaa"))
    with pytest.raises(SourceError, match=r"needs 1000000000\.0 GB more"):
        download._check_space(tmp_path / "dump" / "deep", DUMP)


def test_a_file_that_is_not_what_the_hub_states_is_removed_and_fetched_again(
    hub: type[Recorder], tmp_path: Path
) -> None:
    folder = tmp_path / "dump"
    hub.fault = "flip"
    code, said = fetch(folder, hub.address, tmp_path / "home")
    assert code == 1
    assert "1 files" in said
    assert "not those that the Hub states" in said
    path = folder / "evaluation_sessions" / "bbb" / "A_pi0" / "pi0_video_left.mp4"
    assert not path.exists()
    hub.fault = None
    code, said = fetch(folder, hub.address, tmp_path / "home")
    assert code == 0, said
    assert path.read_bytes() == b"bbb" * 100
