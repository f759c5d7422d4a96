"""The image: linted, without root, without secrets, and made of files that are there."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.deploy.compose import ROOT

TEXT: Final = (ROOT / "deploy" / "Dockerfile").read_text()
INSTRUCTIONS: Final = [
    line.split(maxsplit=1) for line in re.sub(r"\\\n\s*", "", TEXT).splitlines() if line and not line.startswith("#")
]
FINAL: Final = INSTRUCTIONS[max(at for at, (word, _) in enumerate(INSTRUCTIONS) if word == "FROM") :]
ENVIRONMENT: Final = dict(pair.split("=", 1) for word, rest in FINAL if word == "ENV" for pair in rest.split())


def test_the_linter_finds_nothing() -> None:
    hadolint = str(Path(sys.executable).with_name("hadolint"))
    linted = subprocess.run(
        [hadolint, str(ROOT / "deploy" / "Dockerfile")], capture_output=True, text=True, check=False
    )
    assert linted.returncode == 0, linted.stdout


def test_it_runs_as_a_fixed_user_who_is_not_root() -> None:
    assert [rest for word, rest in FINAL if word == "USER"] == ["10001:10001"]


def test_every_file_that_is_copied_is_there_and_passes_dockerignore() -> None:
    passes = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [
        source for word, rest in INSTRUCTIONS if word == "COPY" and "--from" not in rest for source in rest.split()[:-1]
    ]
    assert {"shared", "worker", "deploy/requirements.txt"} <= set(copied)
    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert set(copied) == set(passes)


def test_nothing_secret_is_built_in() -> None:
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"
    names = " ".join(rest for word, rest in INSTRUCTIONS if word in {"ARG", "ENV", "COPY", "LABEL"})
    assert not re.search(r"(?i)secret|password|token|\.env\b|_url|://", names)


def test_packages_come_with_their_hashes_as_wheels_and_from_no_index_of_ours() -> None:
    installs = re.findall(r"pip [^&]*install [^&]*", TEXT.replace("\\\n", " "))
    assert len(installs) == 3
    fetching = "--require-hashes --only-binary :all: --requirement requirements"
    assert all(fetching in line or "--no-deps --no-index" in line for line in installs)
    assert "index-url" not in TEXT


def test_the_final_stage_installs_nothing() -> None:
    assert not [rest for word, rest in FINAL if word == "RUN" and re.search(r"apt|pip|gcc|curl", rest)]


def test_both_stages_begin_with_one_exact_image() -> None:
    assert [rest.split()[0] for word, rest in INSTRUCTIONS if word == "FROM"] == ["${PYTHON}", "${PYTHON}"]
    assert re.search(r"^ARG PYTHON=python:3\.\d+\.\d+-slim-\w+$", TEXT, re.MULTILINE)


def test_a_signal_that_stops_a_container_is_the_one_that_workers_know() -> None:
    assert ENVIRONMENT["REMAP_SIGTERM"] == "SIGQUIT"
    assert ["STOPSIGNAL", "SIGTERM"] in FINAL


def test_every_library_is_told_where_the_base_image_keeps_its_authorities() -> None:
    """What comes of it where PostgreSQL's certificate is a public one: tests/shared/test_tls.py."""
    assert ENVIRONMENT["SSL_CERT_FILE"] == "/etc/ssl/certs/ca-certificates.crt"


def test_no_library_starts_a_thread_for_each_processor_of_the_machine() -> None:
    """A container's share and its limit of processes do not grow with the machine; ``migrate`` may have 50."""
    counting = "import numpy, psutil; print(psutil.Process().num_threads()); import pyarrow; print(pyarrow.cpu_count())"
    told = {name: value for name, value in ENVIRONMENT.items() if name.endswith("_NUM_THREADS")}
    counted = subprocess.run([sys.executable, "-c", counting], env=told, capture_output=True, text=True, check=True)
    assert counted.stdout.split() == ["1", "2"]
