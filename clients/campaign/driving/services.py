"""Who scores the files of a campaign: remembered in its folder, so that nobody types it again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from lartpc.files.whole_file import write_whole
from mdp import SettingsError

_FILE = Path(".campaign", "services.json")


@dataclass(frozen=True)
class Services:
    """The broker, or what `--local` starts in its place."""

    broker: str = ""
    """An address, or @FILE with an absolute path; empty: `local`."""
    pool: str = ""
    """The folder of the pool whose broker it is, as an absolute path; empty: it is no pool's."""
    local: bool = False
    workers: int = 1
    """Workers of each plane, with `local`."""
    readers: int = 2
    """Readers, with `local`."""
    network: str = ""
    """The folder of the networks, with `local`; empty: the shipped ones."""
    engine: str = "onnx"
    """What computes the networks, with `local`."""


def remember(folder: Path, services: Services) -> None:
    """Write down who scores a campaign's files. Raises `WriteError`."""
    text = json.dumps(asdict(services), indent=1) + "\n"
    write_whole(folder / _FILE, lambda part: part.write_text(text))


def remembered(folder: Path) -> Services | None:
    """Return who scored a campaign's files last; None: nobody yet.

    Raises `SettingsError` for a file that another program has changed.
    """
    path = folder / _FILE
    try:
        values = json.loads(path.read_bytes())
        services = Services(**values)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise SettingsError(f"want the broker of a campaign in {path}, got {error}") from None
    types = {name: type(value) for name, value in asdict(Services()).items()}
    if wrong := [
        name for name, value in asdict(services).items() if type(value) is not types[name]
    ]:
        raise SettingsError(
            f"want the broker of a campaign in {path}, got {wrong[0]} of another type"
        )
    return services
