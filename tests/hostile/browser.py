"""Opens a page in a real browser without a head, over loopback, and tells whether any script of it ran."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

COMMANDS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find() -> str | None:
    return next((path for name in COMMANDS if (path := shutil.which(name))), None)


def visit(browser: str, folder: Path, name: str) -> tuple[str, list[str]]:
    """The page's elements once its scripts have run, as text, and the paths that the browser asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        command += [f"--user-data-dir={folder / '.profile'}", "--virtual-time-budget=3000", "--dump-dom"]
        address = f"http://127.0.0.1:{server.server_address[1]}/{name}"
        done = subprocess.run([*command, address], capture_output=True, text=True, timeout=240, check=True)
        server.shutdown()
    return done.stdout, asked
