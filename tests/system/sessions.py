"""Sessions that are recorded for readers and run as tests: what was asked and what came, in words that stay."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import unified_diff
from pathlib import Path
from typing import Any, Final

import httpx

RECORD: Final = "WAREHOUSE_SYNC_RECORD_SESSIONS"
"""Set: pages are written anew, to be read and committed. Unset: they must say what happens now."""
_FOLDER: Final = Path(__file__).parents[2] / "docs" / "sessions"
_LIMIT_S: Final = 90

_VARIES: Final[Sequence[tuple[str, str]]] = (
    (r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "01234567-89ab-cdef-0123-456789abcdef"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", "2026-01-31T06:00:00.000Z"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?", "2026-01-31 06:00:00"),
    (r"\b1[6-9]\d{11}\b", "1769839200000"),
    (r'("number": |"pipeline_run_id": )\d+', r"\g<1>17"),
    (r"(?m)^ +\d+(   tutorial.*settled .* )[\d.]+ +[0-9a-f]{8} *$", r"   17\g<1>0.7   01234567"),
    (r"\brun \d+\b", "run 17"),
    (r"(?m)^.*━.*\n", ""),
    (r"(?m)^(  seconds at work +)[\d.]+ *$", r"\g<1>0.7"),
    (r"(?m)^(  rows/s +)[\d,]+ *$", r"\g<1>4"),
    (r"\d:\d\d:\d\d behind now", "0:00:23 behind now"),
    (r"127\.0\.0\.1:\d+", "127.0.0.1:8000"),
    (r'("lag_s": |"worked_s": |"rows_per_s": |"takes_s": )[\d.]+', r"\g<1>1.0"),
    (r"(?m)^waits: .*\n", ""),
)
"""What is another at each time, and what stands for it."""
_LAYOUT: Final = re.compile(r"[ ─]+")
"""How wide a table is follows from what was replaced in it."""


@dataclass
class Session:
    """One page: headings, what was asked, what came."""

    title: str
    told: str
    hidden: Mapping[str, str] = field(default_factory=dict)
    _lines: list[str] = field(default_factory=list)

    def step(self, heading: str, told: str) -> None:
        """Begin a step of the guide."""
        self._lines += [f"## {heading}", "", told, ""]

    def show(self, language: str, text: str) -> None:
        """Show what was asked or what came."""
        self._lines += [f"```{language}", *text.rstrip().splitlines(), "```", ""]

    def page(self) -> str:
        """Give the page, without what differs each time."""
        text = "\n".join([f"# {self.title}", "", self.told, "", *self._lines]).rstrip() + "\n"
        for what, instead in self.hidden.items():
            text = text.replace(what, instead)
        for pattern, instead in _VARIES:
            text = re.sub(pattern, instead, text)
        return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE)

    def check(self, name: str) -> None:
        """Compare the page with what readers are given, or write that anew."""
        path = _FOLDER / name
        if os.environ.get(RECORD):
            path.write_text(self.page(), encoding="utf-8")
        kept = path.read_text(encoding="utf-8")
        said, does = (_LAYOUT.sub(" ", text).splitlines() for text in (kept, self.page()))
        differs = "\n".join(unified_diff(said, does, path.name, "what happens now", lineterm=""))
        assert not differs, f"if that is right, record it anew ({RECORD}=1), read it, and commit it:\n{differs}"


@dataclass(frozen=True)
class Caller:
    """Somebody who calls the API and has each call recorded."""

    session: Session
    http: httpx.Client

    def call(self, method: str, path: str, body: object = None, *, shown: Sequence[str] | None = None) -> Any:
        """Send a request and give its answer; of a long one only some fields are ``shown``."""
        asked = f"{method} {path}" + ("" if body is None else f"\n\n{_json(body)}")
        self.session.show("http", asked)
        response = self.http.request(method, f"/platform/v2/workspaces/12345{path}", json=body)
        assert response.is_success, response.text
        answer = response.json()
        seen = answer if shown is None else {name: answer[name] for name in shown}
        self.session.show("json", _json(seen))
        return answer


@dataclass(frozen=True)
class Terminal:
    """A folder and an environment in which commands run; each is recorded with what it prints."""

    session: Session
    folder: Path
    environment: Mapping[str, str]

    def write(self, name: str, text: str) -> None:
        """Put a file into the folder."""
        (self.folder / name).write_text(text, encoding="utf-8")
        self.session.show("yaml", f"# {name}\n{text}")

    def run(self, *arguments: str) -> str:
        """Run ``warehouse-sync`` and give what it printed."""
        told = subprocess.run(
            (sys.executable, "-c", "from console.cli import main; main()", *arguments),
            cwd=self.folder,
            env={**self.environment, "COLUMNS": "140", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=_LIMIT_S,
            check=False,
        )
        assert told.returncode == 0, told.stdout + told.stderr
        self.session.show("console", f"$ warehouse-sync {' '.join(arguments)}\n{told.stdout}")
        return told.stdout


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
