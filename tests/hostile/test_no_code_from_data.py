"""Nothing in the package turns data into code: the ways in which Python does that are not called."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "bad_robot_behavior"
FORBIDDEN = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "input"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads", "dill.load"),
    *("marshal.load", "marshal.loads", "shelve.open", "joblib.load", "pandas.read_pickle", "np.lib.npyio.NpzFile"),
    *("yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "tarfile.open", "shutil.unpack_archive"),
}
OWN_WORKERS = "engine/local.py:"  # unpickles what its own processes send over a pipe, as multiprocessing itself does
SAFE_LOADERS = {"loader"}  # of paperwork.py, which chooses between two safe ones


def calls() -> Iterator[tuple[str, ast.Call, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node, ast.unparse(node.func)


def keyword(node: ast.Call, name: str) -> str | None:
    return next((ast.unparse(item.value) for item in node.keywords if item.arg == name), None)


def test_no_call_runs_what_it_reads() -> None:
    found = [(place, name) for place, _, name in calls() if name in FORBIDDEN]
    assert [(place, name) for place, name in found if not (place.startswith(OWN_WORKERS) and "pickle" in name)] == []


def test_arrays_yaml_weights_and_shells() -> None:
    wrong = []
    for place, node, name in calls():
        if name in ("np.load", "numpy.load") and keyword(node, "allow_pickle") != "False":
            wrong.append((place, "np.load without allow_pickle=False"))
        if name == "yaml.load" and keyword(node, "Loader") not in SAFE_LOADERS:
            wrong.append((place, "yaml.load"))
        if name == "torch.load" and keyword(node, "weights_only") != "True":
            wrong.append((place, "torch.load"))
        if keyword(node, "trust_remote_code") not in (None, "False"):
            wrong.append((place, "trust_remote_code"))
        if keyword(node, "shell") not in (None, "False"):
            wrong.append((place, "shell"))
        if name.endswith((".extractall", ".extract")) and "zip" in ast.unparse(node.func).lower():
            wrong.append((place, "extracts an archive to names that it chose"))
    assert wrong == []


def test_whatever_comes_from_the_hub_has_a_revision() -> None:
    for place, node, name in calls():
        if name in ("snapshot_download", "hf_hub_download"):
            spread = any(item.arg is None for item in node.keywords)
            assert spread or keyword(node, "revision") is not None, place
