"""Options of `mdp`: bad values name the option that was typed; -h, --version, completion."""

from __future__ import annotations

import importlib.metadata
import inspect
import subprocess
import sys

import pytest

import mdp as package
from mdp import BrokerSettings, Refused, SettingsError
from mdp.commands.cli import app, main
from mdp.commands.command_line import options_named
from tests.support.commands_of_mdp import environment, mdp
from tests.support.misuse import misused
from tests.support.option_tree import numeric_options
from tests.support.processes import ROOT

ARGUMENTS = {
    "worker": ["echo", "mdp.echo:Echo"],
    "call": ["echo"],
    **{f"service {name}": ["echo"] for name in ("pause", "resume")},
    "retire": ["--host", "n7"],
    "cancel": ["--client", "bob"],
    **{f"keys {name}": ["bob", "--contact", "none.json"] for name in ("new", "revoke")},
    **{f"keys {name}": ["--contact", "none.json"] for name in ("list", "rotate")},
}
ENOUGH = {"--every": ["--watch"]}
"""Options that want another one, but in `ALONE`."""
ALONE = {("top", "--every")}
NUMBERS_IN_TEXT = [
    ("broker", "--time-limit", "echo=0"),
    ("broker", "--time-limit", "echo=nan"),
    ("broker", "--time-limit", "echo"),
    ("bench", "--sizes", "-1"),
    ("bench", "--sizes", "many"),
    ("bench", "--windows", "0"),
    ("bench", "--workers", "0"),
    ("bench", "--dialect", "MDP/9"),
    ("call", "--window", "1001"),
]
ADDRESSES = [
    ("broker", "--bind", "127.0.0.1:5555"),
    ("broker", "--bind", "tcp://127.0.0.1:99999"),
    ("worker", "--broker", "node7:5555"),
    ("call", "--broker", "node7:5555"),
    ("services", "--broker", "node7:5555"),
    ("retire", "--broker", "node7:5555"),
    ("drain", "--broker", "node7:5555"),
    ("top", "--broker", "node7:5555"),
    ("bench", "--broker", "node7:5555"),
    ("metrics", "--broker", "node7:5555"),
]
COMMANDS = [
    *("broker", "worker", "call", "services", "bench", "metrics"),
    *("service", "service pause", "service resume", "retire", "cancel", "drain", "top"),
    *("keys", "keys new", "keys list", "keys revoke", "keys rotate"),
]
SSNET = [
    *("batches", "check", "demo", "display", "files", "ledger", "run", "simple", "toy", "train"),
    *("worker", "worker planes", "worker batch-train", "worker dummy"),
]


BAD_NUMBERS = [
    (command, option, value)
    for command, option, kind in numeric_options(app)
    for value in (["-1", "nan"] if kind is float else ["-1"])
]


def test_all_numeric_options_are_tried() -> None:
    tried = {option for _, option, _ in BAD_NUMBERS}
    assert tried >= {
        *("--heartbeat", "--liveness", "--expiry", "--drain", "--max-queue", "--max-queue-bytes"),
        *("--max-attempts", "--timeout", "--tries", "--window", "--repeat", "--wait", "--every"),
        *("--workers", "--seconds", "--rounds"),
    }


@pytest.mark.parametrize(("command", "option", "value"), [*BAD_NUMBERS, *NUMBERS_IN_TEXT])
def test_a_bad_number_names_its_option(
    command: str,
    option: str,
    value: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    others = [] if (command, option) in ALONE else ENOUGH.get(option, [])
    words = [*ARGUMENTS.get(command, []), *others, f"{option}={value}"]
    stderr = misused(main, *command.split(), *words, monkeypatch=monkeypatch, capsys=capsys)
    assert option in stderr


@pytest.mark.parametrize("option", ["--heartbeat", "--liveness"])
def test_zero_heartbeats_name_the_option_and_not_the_field(option: str) -> None:
    for command in ("broker", "worker"):
        arguments = ARGUMENTS.get(command, [])
        [line] = mdp(command, *arguments, option, 0, code=2).stderr.splitlines()
        assert line.startswith(f"mdp: want {option} above 0, got 0")


@pytest.mark.parametrize(("command", "option", "value"), ADDRESSES)
def test_a_bad_address_names_its_option_and_what_was_wanted(
    command: str, option: str, value: str
) -> None:
    [line] = mdp(command, *ARGUMENTS.get(command, []), option, value, code=2).stderr.splitlines()
    assert f"{option}: want tcp://HOST:PORT or ipc://PATH" in line
    assert repr(value) in line


def test_a_bad_address_of_the_environment_names_its_variable() -> None:
    done = mdp("services", code=2, MDP_BROKER="node7:5555")
    assert "MDP_BROKER: want tcp://HOST:PORT" in done.stderr


def test_ssnet_refuses_a_bad_address_before_it_does_anything() -> None:
    for command in (["simple", "no.root", "-o", "out.root", "-s", "x"], ["worker", "dummy"]):
        done = mdp(*command, "--broker", "node7:5555", module="clients", code=2)
        [line] = done.stderr.splitlines()
        assert "--broker: want tcp://HOST:PORT or ipc://PATH, got 'node7:5555'" in line


# The translation.


def test_settings_of_python_name_the_field_and_with_options_the_option() -> None:
    with pytest.raises(SettingsError, match=r"^want expiry_s above 0, got 0$"):
        BrokerSettings(expiry_s=0)
    with (
        pytest.raises(SettingsError, match=r"^want --expiry above 0, got 0$"),
        options_named(expiry_s="--expiry", drain_s="--drain"),
    ):
        BrokerSettings(expiry_s=0)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("want tries of at least 1", "want --tries of at least 1"),
        ("want tries_s, retries, --tries", "want tries_s, retries, --tries"),
        ("want 'tries' in a/tries.root", "want 'tries' in a/tries.root"),
        ("want tries of at most window (3)", "want --tries of at most --window (3)"),
    ],
)
def test_only_whole_words_that_are_no_values_become_options(text: str, named: str) -> None:
    with (
        pytest.raises(SettingsError) as raised,
        options_named(tries="--tries", window="--window"),
    ):
        raise SettingsError(text)
    assert str(raised.value) == named


def test_the_kind_of_the_error_stays() -> None:
    with pytest.raises(Refused, match="--tries"), options_named(tries="--tries"):
        raise Refused("want tries")


# --version, -h, completion.


def test_both_commands_have_one_version() -> None:
    version = package.__version__
    assert mdp("--version").stdout == f"mdp {version}\n"
    assert mdp("--version", module="clients").stdout == f"ssnet {version}\n"
    assert importlib.metadata.version("ssnetserver") == version


@pytest.mark.parametrize(
    ("module", "commands"), [("mdp", COMMANDS), ("clients", SSNET)], ids=["mdp", "ssnet"]
)
def test_h_is_help_on_the_app_and_on_every_command(module: str, commands: list[str]) -> None:
    assert mdp("-h", module=module).stdout == mdp("--help", module=module).stdout
    for command in commands:
        assert "Usage: " in mdp(*command.split(), "-h", module=module).stdout


@pytest.mark.parametrize("module", ["mdp", "clients"])
@pytest.mark.parametrize("option", ["--version", "--help"])
def test_help_and_version_load_no_heavy_library(module: str, option: str) -> None:
    cli = {"mdp": "mdp.commands.cli", "clients": "clients.cli"}[module]
    heavy = "numpy", "uproot", "awkward", "h5py", "onnx", "onnxruntime", "torch", "matplotlib"
    program = (
        f"import sys\nsys.argv = ['x', {option!r}]\nfrom {cli} import main\n"
        f"try: main()\nexcept SystemExit: pass\n"
        f"sys.exit(', '.join(name for name in {heavy!r} if name in sys.modules) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("module", "program", "typed", "offered"),
    [
        ("mdp.commands.cli", "mdp", "mdp call", "call"),
        ("clients.cli", "ssnet", "ssnet disp", "display"),
    ],
)
def test_a_shell_completes_commands(module: str, program: str, typed: str, offered: str) -> None:
    start = f"import sys; sys.argv = [{program!r}]; from {module} import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", start],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(
            PYTHONPATH=str(ROOT),
            **{f"_{program.upper()}_COMPLETE": "complete_bash"},
            COMP_WORDS=typed,
            COMP_CWORD="1",
        ),
    )
    assert done.stdout.split() == [offered], done.stderr
    assert "--install-completion" in mdp("--help", module=module.partition(".")[0]).stdout


def test_every_command_of_mdp_can_be_quiet() -> None:
    for info in app.registered_commands:
        assert info.callback is not None
        assert "quiet" in inspect.signature(info.callback).parameters


def test_quiet_and_verbose_contradict_each_other() -> None:
    assert "--quiet" in mdp("call", "echo", "--quiet", "--verbose", code=2).stderr
