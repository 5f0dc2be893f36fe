"""This project in environments of users: what they lack is one line, and type checkers see it."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterable
from pathlib import Path

import pytest

from services import extras
from tests.support.environments import Environment, base, pip, sources, wheel
from tests.support.optional import optional
from tests.support.processes import ROOT
from tests.support.tutorial_page import PAGE, blocks

RUN = ("run", "in.h5", "-o")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def plain(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The base installation, from the wheel."""
    return environment(tmp_path_factory.mktemp("plain"), built, base())


@pytest.fixture(scope="module")
def client(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The same with the extra [client]."""
    needed = [*base(), *extras.requirements("client")]
    return environment(tmp_path_factory.mktemp("client"), built, needed)


@pytest.fixture(scope="module")
def editable(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """The base installation that follows its sources."""
    folder = tmp_path_factory.mktemp("editable")
    target = Environment(folder / "venv")
    target.link(base())
    target.install(sources(folder / "sources"), "--editable")
    return target


def environment(folder: Path, built: Path, needed: Iterable[str]) -> Environment:
    target = Environment(folder / "venv")
    target.link(needed)
    target.install(built)
    return target


def lacking(where: Environment, *words: str, cwd: Path) -> list[str]:
    """The requirements that the command's only line tells to install."""
    done = where.run("ssnet", *words, cwd=cwd)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    [line] = [text for text in done.stderr.splitlines() if text.startswith("ssnet: ")]
    command = line.rpartition("pip install ")[2].partition(" (")[0]
    return shlex.split(command)


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("files", "a.h5"), ["client"]),
        (("toy", "-o", "a.h5"), ["client"]),
        (("check", "a.h5", "b.h5"), ["client"]),
        (("simple", "a.h5", "-o", "b.h5", "-s", "dummy"), ["client"]),
        ((*RUN, "out.h5"), ["client"]),
        ((*RUN, "out.h5", "--local"), ["client", "worker"]),
        ((*RUN, "out.root"), ["client", "larcv1"]),
        (("ledger", "a.ledger"), ["images"]),
        (("ledger", "a.ledger", "--output=a.json"), ["images"]),
        (("batches", "--output=a.png"), ["client", "display"]),
        (("batches",), ["client"]),
        (("display", "a.h5", "-p", "wire", "-o", "a.png"), ["display"]),
        (("train", "a.h5", "-o", "networks"), ["train"]),
        (("worker", "planes"), ["worker"]),
        (("worker", "dummy"), ["images"]),
        (("worker", "batch-train", "a.h5"), ["client"]),
        (("demo",), ["all"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_base_installation_names_all_that_a_command_lacks(
    plain: Environment, tmp_path: Path, words: tuple[str, ...], extra: list[str]
) -> None:
    wanted = {line for name in extra for line in extras.requirements(name)}
    assert set(lacking(plain, *words, cwd=tmp_path)) == wanted
    assert list(tmp_path.iterdir()) == []


def test_a_client_names_only_what_is_missing(client: Environment, tmp_path: Path) -> None:
    toys = client.run("ssnet", "toy", "--events", 1, "-o", "in.h5", "--rows", 64, cwd=tmp_path)
    assert toys.returncode == 0, toys.stderr
    for words, wanted in (
        ((*RUN, "out.h5", "--local"), {"onnxruntime", "onnx", "google.protobuf"}),
        (("worker", "planes", "--planes", "0"), {"onnxruntime", "onnx", "google.protobuf"}),
        (("display", "in.h5", "-p", "wire", "-o", "a.png"), {"matplotlib"}),
        (("toy", "-o", "out.root"), {"ROOT"}),
        (("train", "in.h5", "-o", "n"), {*extras_modules("train")} - {*extras_modules("client")}),
    ):
        assert set(map(extras.module_of, lacking(client, *words, cwd=tmp_path))) == wanted, words


def extras_modules(extra: str) -> Iterable[str]:
    return map(extras.module_of, extras.requirements(extra))


def test_help_and_the_broker_need_no_extra(plain: Environment, tmp_path: Path) -> None:
    for words in (("ssnet", "--help"), ("ssnet", "run", "--help"), ("mdp", "broker", "--help")):
        assert plain.run(*words, cwd=tmp_path).returncode == 0


def test_the_line_that_a_command_names_installs_what_its_extra_does(
    plain: Environment, built: Path, tmp_path: Path
) -> None:
    named = lacking(plain, "worker", "dummy", cwd=tmp_path)
    assert resolved(plain, *named) == resolved(plain, f"{built}[images]") - {"ssnetserver"}


def resolved(where: Environment, *requirements: str) -> set[str]:
    """The distributions that pip would install."""
    dry = ("install", "--dry-run", "--quiet", "--report=-")
    report = json.loads(pip(f"--python={where.python}", *dry, *requirements))
    return {item["metadata"]["name"] for item in report["install"]}


@pytest.mark.parametrize("name", ["format_modules.py", "root_writing/declared.py"])
def test_what_lartpc_tells_to_install_is_what_its_extras_ask_for(name: str) -> None:
    text = (ROOT / "lartpc" / "files" / name).read_text()
    named = {word for word in re.findall(r"'([^'\s]+)'", text) if ">=" in word}
    asked = {*extras.requirements("client"), *extras.requirements("larcv1")}
    assert named
    assert named <= asked


def test_a_wheel_holds_the_licence(built: Path) -> None:
    with zipfile.ZipFile(built) as wheel_file:
        [licence] = [name for name in wheel_file.namelist() if name.endswith("/LICENSE")]
        assert wheel_file.read(licence) == (ROOT / "LICENSE").read_bytes()


# Type checkers.


def page_files() -> dict[str, str]:
    """The files of the tutorial by name. The cell of a notebook is a function: no type checker
    knows `await` at the top level."""
    files = {
        kind.partition(" file=")[2]: text
        for kind, text in blocks(PAGE.read_text())
        if " file=" in kind
    }
    cell = textwrap.indent(files["cell.py"], "    ")
    return {**files, "cell.py": f"async def cell() -> None:\n{cell}"}


@pytest.fixture
def tutorial(tmp_path: Path) -> Path:
    """The tutorial's files that need no extra, in a folder outside the checkout."""
    for name in ("pixels.py", "ask.py"):
        (tmp_path / name).write_text(page_files()[name])
    return tmp_path


def checked(python: Path, folder: Path) -> str:
    """What `mypy --strict` says of a folder's files, with an environment's packages."""
    optional("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", f"--python-executable={python}"]
    cache = f"--cache-dir={folder / 'cache'}"
    files = sorted(map(str, folder.glob("*.py")))
    done = subprocess.run(
        [*command, "--config-file=", cache, *files], cwd=folder, capture_output=True, text=True
    )
    return done.stdout + done.stderr


@pytest.mark.parametrize("installed", ["plain", "editable"])
def test_type_checkers_see_the_installed_package(
    installed: str, tutorial: Path, request: pytest.FixtureRequest
) -> None:
    where: Environment = request.getfixturevalue(installed)
    assert checked(where.python, tutorial).startswith("Success")
    (tutorial / "ask.py").write_text("from mdp import Client\n\nClient(7)\n")
    assert "[arg-type]" in checked(where.python, tutorial)


def test_type_checkers_find_nothing_in_all_files_of_the_tutorial(tmp_path: Path) -> None:
    """With the installation that `make` made; and nothing in README.md's example."""
    [readme] = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    for name, text in {**page_files(), "readme.py": readme}.items():
        (tmp_path / name).write_text(text)
    assert {"smooth.py", "test_smooth.py", "test_faults.py"} <= page_files().keys()
    assert checked(Path(sys.executable), tmp_path).startswith("Success")
