"""Print what the project and some of its extras depend on, so that an image can install that before the code."""

import sys
import tomllib
from pathlib import Path


def main() -> None:
    """Print one requirement a line."""
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for extra in sys.argv[1:] for line in project["optional-dependencies"][extra]]
    sys.stdout.write("".join(f"{line}\n" for line in [*project["dependencies"], *extras]))


main()
