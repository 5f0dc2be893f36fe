"""The job script of a pool, as text: what each job runs. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

_SCRIPT = """\
# Written by `pool start`; to change it, change pool.toml.
pool={folder}
job=${{SLURM_ARRAY_JOB_ID:+${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID}}
job=${{job:-${{SLURM_JOB_ID:-${{MDP_JOB:-by-hand}}}}}}
line() {{ printf '{program} pool: %s\\n' "$*"; }}
now() {{ date +%Y-%m-%dT%H:%M:%S%z; }}
trap 'code=$?; line "job $job on $(hostname) ended with code $code at $(now)"' EXIT
line "{name} job $job on $(hostname) started $(now)"
if [ -e "$pool/stopped" ]; then
    line "the pool was stopped before this job started: nothing to do"
    exit 0
fi
{contact}[ "$job" = by-hand ] || export MDP_LOG="$pool/logs/$job.log"
{source}{directory}{stagger}{setup}{command} &
worker=$!
# Signals go on to the worker, which finishes the requests that it holds. A trapped signal ends
# `wait` early, so it is called until it returns the worker's own code.
trap 'interrupted=1; kill -TERM "$worker" 2>/dev/null' TERM USR1 INT
while :; do
    interrupted=
    wait "$worker"
    code=$?
    [ -n "$interrupted" ] || exit "$code"
done
"""

_CONTACT = """\
if [ ! -e "$pool/broker.json" ]; then
    line "there is no $pool/broker.json: the pool has no broker, so there is nothing to do"
    exit 0
fi
"""

_SETUP = """\
{{
{lines}
}} || {{ line "--setup failed with code $?"; exit 1; }}
"""


def script(
    command: Sequence[str],
    *,
    program: str,
    name: str,
    folder: str,
    directory: str = "",
    source: str = "",
    setup: Sequence[str] = (),
    stagger_s: float = 0.0,
    needs_contact: bool = True,
) -> str:
    """Return the body of a job script; `sbatch`'s options come before it.

    program: `ssnet` or `mdp`, for the lines in the log. directory: where the command runs.
    source: a source tree that Python needs.
    stagger_s: wait for a random time below it first. needs_contact: end at
    once, with code 0, if the contact file is missing.
    """
    return _SCRIPT.format(
        program=program,
        name=name,
        folder=shlex.quote(folder),
        source=f"export PYTHONPATH={shlex.quote(source)}${{PYTHONPATH:+:$PYTHONPATH}}\n"
        if source
        else "",
        directory=f"cd {shlex.quote(directory)} || exit 1\n" if directory else "",
        stagger=f"sleep $((RANDOM % {int(stagger_s) + 1}))\n" if stagger_s else "",
        setup="".join(_SETUP.format(lines=lines) for lines in setup),
        contact=_CONTACT if needs_contact else "",
        command=shlex.join(command),
    )


def in_container(command: Sequence[str], image: str, *, folder: str, gpus: int) -> list[str]:
    """Return the command that runs another one in a container, which sees the pool folder."""
    gpu = ["--nv"] if gpus else []
    return ["apptainer", "exec", *gpu, "--bind", folder, image, *command]
