"""The options that several commands of `ssnet` have: one name, one meaning (docs/options.md)."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from mdp.commands.command_line import COMPUTED as COMPUTED
from mdp.commands.command_line import DRAWN as DRAWN
from mdp.commands.command_line import FAILURES as FAILURES
from mdp.commands.command_line import FILES as FILES
from mdp.commands.command_line import LEARNED as LEARNED
from mdp.commands.command_line import SERVED as SERVED
from mdp.commands.command_line import TERMINAL as TERMINAL
from mdp.commands.command_line import Broker as Broker
from mdp.commands.command_line import Heartbeat as Heartbeat
from mdp.commands.command_line import Json as Json
from mdp.commands.command_line import Liveness as Liveness
from mdp.commands.command_line import LongWait as LongWait
from mdp.commands.command_line import PoolName as PoolName
from mdp.commands.command_line import Quiet as Quiet
from mdp.commands.command_line import Timeout as Timeout
from mdp.commands.command_line import Tries as Tries
from mdp.commands.command_line import Verbose as Verbose
from mdp.commands.command_line import Workers as Workers
from mdp.commands.command_line import broker_of as broker_of
from mdp.commands.command_line import finite as finite
from mdp.commands.command_line import option as option
from mdp.commands.command_line import positive as positive

ALL_PLANES = "0,1,2"
IMAGES, LABELS = "wire", "segment"
"""The producers that toys have."""
LOW_ADC, HIGH_ADC = 10.0, 500.0
SIDE, OVERLAP = 512, 64  # pixels of crops and tiles


class Ticks(str, enum.Enum):
    """Which tick row 0 holds: the largest (backward) or smallest (forward); auto: see the files."""

    auto = "auto"
    backward = "backward"
    forward = "forward"


class Mode(str, enum.Enum):
    """Which parts of an event are scored."""

    croi = "croi"
    tiles = "tiles"
    whole = "whole"


class EngineName(str, enum.Enum):
    """What computes a network."""

    onnx = "onnx"
    caffe = "caffe"


class OnBadInput(str, enum.Enum):
    """What happens at an entry that cannot be read, planned or cut."""

    stop = "stop"
    fail = "fail"


class FileFormats(str, enum.Enum):
    larcv1 = "larcv1"
    larcv2 = "larcv2"
    larcv3 = "larcv3"


# Input and output.

Inputs = Annotated[
    list[Path], typer.Argument(metavar="IN...", help="LArCV files, read in order as one file.")
]
TrainingFiles = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="[FILE...]",
        help="LArCV files for a broker and workers that start on this machine. Without files, the"
        " workers of --broker are used.",
    ),
]
Output = Annotated[Path, option(FILES, "--output", "-o", help="Output file: .root or .h5.")]
Start = Annotated[
    int, option(FILES, min=0, help="First entry to read; entries count from 0 over all inputs.")
]
End = Annotated[
    int | None,
    option(FILES, min=1, help="Stop before this entry. Default: the end of the inputs."),
]
OutputFormat = Annotated[
    FileFormats | None,
    option(
        FILES,
        "--format",
        help="Format of the output: larcv1 or larcv2 (.root), larcv3 (.h5). Default: larcv3 for"
        " .h5, and for .root that of the inputs, or larcv1 if they are no ROOT files.",
    ),
]
CopyInput = Annotated[
    bool, option(FILES, "--copy-input", help="Copy all other products of the input to the output.")
]
RepeatInputs = Annotated[
    bool, option(FILES, "--repeat-inputs", help="Accept an input that is given twice.")
]
Force = Annotated[bool, option(FILES, "--force", help="Replace the output if it exists.")]
TickOrder = Annotated[
    Ticks,
    option(
        FILES,
        help="Order of the rows: backward (row 0 is the largest tick, as in LArCV1) or forward (row"
        " 0 is the smallest). With auto the files decide; if they cannot, it is backward, with a"
        " warning. For LArCV2, backward overrules the definition of its rows.",
    ),
]
TrustTickOrder = Annotated[
    bool,
    option(
        FILES,
        "--trust-tick-order",
        help="Use --tick-order backward or forward even if the files contradict it, for a detector"
        " with ticks below 0.",
    ),
]
Ledger = Annotated[
    bool,
    option(
        FILES, "--ledger", help="Record the times of every event in OUT.ledger, for `ssnet ledger`."
    ),
]
CampaignDir = Annotated[
    Path, typer.Argument(metavar="DIR", help="Folder of a campaign: the outputs lie in it.")
]
Scratch = Annotated[
    str,
    option(
        FILES,
        metavar="FOLDER",
        help="Folder on each reader's host, in which an output is written before it is moved as a"
        " whole and its checksum is compared.",
    ),
]
Window = Annotated[int, option(SERVED, min=1, help="Events in flight at once.")]
Local = Annotated[
    bool, option(SERVED, "--local", help="Start a broker and workers on this machine.")
]
Canary = Annotated[
    str,
    option(
        SERVED,
        metavar="LABEL",
        help="Label of a canary: its workers serve `ssnet-canary-LABEL-plane0` and so on, and its"
        " clients send them a share of the crops.",
    ),
]
Share = Annotated[
    float,
    option(
        SERVED,
        min=0,
        max=1,
        callback=finite,
        help="Share of the crops, 0 to 1, that is sent to a canary as well.",
    ),
]
Readers = Annotated[int, option(SERVED, min=0, help="Readers of files to start.")]
Cache = Annotated[
    int,
    option(SERVED, min=0, metavar="MIB", help="Memory in which each worker caches events, in MiB."),
]

# What is computed.

PRODUCER = "Producer of the images; of LArCV2 also sparse2d:wire"
LABEL_PRODUCER = "Producer of the labels (0 background, 1 shower, 2 track)"
ROI_PRODUCER = "Producer of the regions of interest; of LArCV2 particle:mcst or bbox2d:croi"

Producer = Annotated[
    str | None,
    option(
        COMPUTED,
        "--producer",
        "-p",
        help=f"{PRODUCER}. Default: wire, else the only one.",
    ),
]
TrainingProducer = Annotated[str, option(COMPUTED, "--producer", "-p", help=f"{PRODUCER}.")]
Labels = Annotated[str, option(COMPUTED, help=f"{LABEL_PRODUCER}.")]
Rois = Annotated[
    str | None,
    option(
        COMPUTED,
        help=f"{ROI_PRODUCER}. Default: croi, else the only one.",
    ),
]
Planes = Annotated[
    str,
    option(
        COMPUTED,
        *("--planes", "--projections"),
        help="Numbers of the planes, which LArCV2 calls projections: 0,1,2 or 0-5.",
    ),
]
Modes = Annotated[
    Mode | None,
    option(
        COMPUTED,
        help="Parts of an event that are scored: crops around ROIs, tiles, or whole images."
        " Default: croi if there are ROIs, else tiles.",
    ),
]
Size = Annotated[int, option(COMPUTED, min=1, help="Side of a square crop or tile, in pixels.")]
Overlap = Annotated[int, option(COMPUTED, min=0, help="Overlap of neighbouring tiles, in pixels.")]
Threshold = Annotated[
    float,
    option(
        COMPUTED,
        min=0,
        callback=finite,
        help="Threshold in ADC; a pixel below it counts as empty and gets score 0.",
    ),
]
Ceiling = Annotated[
    float,
    option(
        COMPUTED, callback=positive, help="Upper limit in ADC; larger values are clipped to it."
    ),
]
Prototxt = Annotated[Path | None, option(COMPUTED, help="Network architecture, a .prototxt file.")]
Network = Annotated[
    Path | None,
    option(
        COMPUTED,
        metavar="FOLDER",
        help="Folder with the .prototxt and .caffemodel of each plane. Default: the shipped"
        " networks.",
    ),
]
Engine = Annotated[
    EngineName,
    option(COMPUTED, help="Library that computes: onnxruntime, or an installed pycaffe."),
]
Device = Annotated[str, option(COMPUTED, help="Device that computes: cpu, or cuda:0, cuda:1, ...")]
Threads = Annotated[
    int,
    option(
        COMPUTED,
        min=0,
        show_default=False,
        help="CPU threads of each computing process; 0: all cores, shared evenly. Default: 0.",
    ),
]
Seed = Annotated[
    int,
    option(COMPUTED, min=0, help="Seed of all random numbers; equal seeds give equal results."),
]
Events = Annotated[int, option(COMPUTED, min=1, help="Toy events to make.")]
BatchSize = Annotated[
    int, option(COMPUTED, min=1, help="Events in a batch; the last batch may hold fewer.")
]
ROWS_HELP = "Rows of an image or crop, in pixels (time axis)."
COLS_HELP = "Columns of an image or crop, in pixels (wire axis)."

# Failures and resuming.

CheckpointSeconds = Annotated[
    float,
    option(
        FAILURES,
        min=0,
        callback=finite,
        help="Seconds between checkpoints; 0: as often as possible.",
    ),
]
Fresh = Annotated[
    bool,
    option(FAILURES, "--fresh", help="Discard the checkpoint of an earlier run, and start over."),
]
Strict = Annotated[
    bool, option(FAILURES, "--strict", help="Stop the run at the first event that fails.")
]
BadInput = Annotated[
    OnBadInput,
    option(
        FAILURES,
        help="If an entry cannot be read or cut: stop the run, or fail only this event, which stays"
        " empty and is named in OUT.failed.json.",
    ),
]
MaxFailed = Annotated[
    float,
    option(
        FAILURES,
        min=0,
        max=1,
        callback=finite,
        help="Fraction of the events, 0 to 1, that may fail; if more fail, the run stops, but not"
        " before ten have failed.",
    ),
]
