"""The command `stable-regions`: look at a model, and say how sharp its regions are.

An error is one line. Whatever is wrong in the input is told of before torch is imported, where no
model has to be loaded to know it.
"""

import argparse
import logging
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stable_regions.base.errors import UserError, first_line, is_disk_full
from stable_regions.measures.conventions import EMBEDDING

if TYPE_CHECKING:
    from stable_regions.front.files import ModelFiles
    from stable_regions.front.terminal import Facts

OTHERS = 5  # random prompts that one alone is held against
PICTURES = (".png", ".html")
ROW = re.compile(r"(?P<name>.+)\[(?P<row>\d+)\]")
LOOK = """\
Look at one pair of prompts on one model.

  stable-regions look                                  an example on the embedded model
  stable-regions look MODEL "prompt A" "prompt B"      the path between two prompts
  stable-regions look MODEL "prompt A"                 paths to a few random prompts

MODEL is a folder, a GGUF file, a name on the Hugging Face hub (owner/name, or owner/name@revision)
or in config.yaml; without it, the model that comes in a package (SmolLM2-135M, 93 MB, once).
Both prompts must have as many tokens: B's activation is put into A's context, at the same position.
"""
SHARPNESS = """\
The median max slope of random pairs of prompts, beside what others have.

The prompts are drawn as the study draws its own: chunks of 10 tokens of Project Gutenberg's texts.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 1 after an error that was told."""
    parser = _parser()
    args = parser.parse_args(arguments)
    _quiet()
    try:
        args.run(args)
    except UserError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if is_disk_full(error):
            return _fail(f"no space is left on the disk: make room for {_cache()}")
        return _fail(first_line(error))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="stable-regions", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    raw: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    look = commands.add_parser(
        "look", help="one pair of prompts on a model", description=LOOK, **raw
    )
    look.add_argument("words", nargs="*", metavar="MODEL or PROMPT")
    look.add_argument("--plane", metavar="C", help="a third prompt: the plane of all three")
    look.add_argument(
        "--direction", type=Path, metavar="FILE", help="safetensors: a vector in place of B - A"
    )
    look.add_argument(
        "--tensor", metavar="NAME", help="the one of several in FILE; NAME[7] is its row 7"
    )
    look.add_argument("--scale", type=float, default=1.0, help="times the direction (default: 1)")
    look.add_argument(
        "--position",
        type=int,
        default=-1,
        help="to write at, from 0, or from the end (default: -1)",
    )
    look.set_defaults(run=_look)
    sharpness = commands.add_parser(
        "sharpness", help="the median max slope of random pairs", description=SHARPNESS, **raw
    )
    sharpness.add_argument("words", nargs="?", metavar="MODEL")
    sharpness.add_argument("--pairs", type=int, default=100, help="default: 100")
    sharpness.set_defaults(run=_sharpness)
    for command in (look, sharpness):
        command.add_argument(
            "--layer", type=_layer, default=0, help="write after it, or at 'embed' (default: 0)"
        )
        command.add_argument(
            "--bos", action="store_true", help="put a BOS token before each prompt"
        )
        command.add_argument(
            "--dtype", default="float32", choices=("float32", "float64", "bfloat16")
        )
        command.add_argument(
            "--texts", metavar="PATH", help="draw random prompts from this file or folder of texts"
        )
        command.add_argument(
            "--output", type=Path, metavar="FILE", help="a picture (.png) or a page (.html)"
        )
    return parser


def _layer(text: str) -> int:
    return EMBEDDING if text == "embed" else int(text)


def _look(args: argparse.Namespace) -> None:
    from stable_regions.front import files as found

    output = _output(args.output)
    name, prompts = _split(args.words)
    if args.direction is not None and (len(prompts) > 1 or args.plane is not None):
        raise UserError("--direction takes the place of the second prompt: give one prompt")
    if args.plane is not None and args.position != -1:
        raise UserError("a plane is measured at the last position: leave --position out")
    files = found.open_files(name, bos=args.bos)
    if not prompts:
        example = found.example()
        prompts = [example.a] if args.direction is not None else [example.a, example.b]
    if args.plane is not None and len(prompts) != 2:
        raise UserError(f"a plane is of three prompts: give 2 before --plane, not {len(prompts)}")
    if len(prompts) > 2:
        raise UserError(f"{len(prompts)} prompts were given: 2 at most (a third goes to --plane)")
    ids = files.tokens(*prompts, *([] if args.plane is None else [args.plane]))
    files.check(args.layer, args.position, len(ids[0]))
    direction = None
    if args.direction is not None:
        direction = _vector(args.direction, args.tensor, files) * args.scale
    others: list[str] = []
    drawn = ""
    if len(prompts) == 1 and direction is None:
        length = len(ids[0]) - (files.bos is not None)
        others, drawn = found.random_texts(files, OTHERS, tokens=length, texts=args.texts)
    # from here on it takes seconds
    from stable_regions.front import drawing, measuring, terminal
    from stable_regions.front.loading import load_files

    model = load_files(files, dtype=args.dtype)
    where = {"layer": args.layer, "position": args.position}
    print(model, end="\n\n", flush=True)
    if args.plane is not None:
        plane = measuring.plane(model, prompts[0], prompts[1], args.plane, layer=args.layer)
        facts, shown = terminal.facts_of_plane(plane), terminal.plane_map(plane)
        picture, table = drawing.draw_plane(plane), plane.table()
    elif others:
        paths = [measuring.path(model, prompts[0], other, **where) for other in others]
        facts = [*terminal.facts_of_paths(paths), ("against", drawn)]
        shown = [*terminal.table_of_paths(paths), "", *_curve(paths)]
        picture, table = drawing.draw_paths(paths), measuring.stacked(paths)
    else:
        other = prompts[1] if direction is None else None
        path = measuring.path(model, prompts[0], other, direction=direction, **where)
        if direction is not None:
            what = f"{args.scale:g} times {args.tensor or 'the vector'} of {args.direction}"
            path = replace(path, other=what)
        facts, shown = terminal.facts_of_path(path), _curve([path])
        picture, table = drawing.draw_paths([path]), path.table()
    _show(str(model), facts, shown, output, picture, table)


def _sharpness(args: argparse.Namespace) -> None:
    from stable_regions.front import files as found

    output = _output(args.output)
    if args.pairs < 1:
        raise UserError(f"--pairs {args.pairs}: give 1 or more")
    files = found.open_files(args.words or found.DEFAULT, bos=args.bos)
    files.check(args.layer)
    from stable_regions.front import drawing, measuring, terminal
    from stable_regions.front.loading import load_files

    model = load_files(files, dtype=args.dtype)
    print(model, end="\n\n", flush=True)
    result = measuring.sharpness(model, args.pairs, layer=args.layer, texts=args.texts)
    facts = [*terminal.facts_of_sharpness(result), ("took", f"{result.seconds:.1f} s")]
    shown = terminal.table_of_sharpness(result)
    _show(str(model), facts, shown, output, drawing.draw_sharpness(result), result.pairs)


def _show(
    title: str, facts: "Facts", shown: Sequence[str], output: Path | None, picture: Any, table: Any
) -> None:
    from stable_regions.front import drawing, page, terminal

    print(*terminal.lines(facts), "", *shown, sep="\n")
    if output is None:
        return
    if output.suffix == ".html":
        page.write_page(output, title, facts, picture, table)
    else:
        drawing.saved(picture, output)
    print(f"\nwritten to {output}")


def _curve(paths: Sequence[Any]) -> list[str]:
    from stable_regions.front import terminal

    try:
        "⠿".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return terminal.curve(paths, braille=False)
    return terminal.curve(paths)


def _split(words: Sequence[str]) -> tuple[str, list[str]]:
    """The model and the prompts: of two words or fewer, the first is a prompt if it has a space."""
    from stable_regions.front.files import DEFAULT

    spaced = bool(words) and " " in words[0].strip() and not Path(words[0]).exists()
    if not words or (spaced and len(words) < 3):
        return DEFAULT, list(words)
    return words[0], list(words[1:])


def _output(path: Path | None) -> Path | None:
    if path is not None and path.suffix not in PICTURES:
        raise UserError(f"--output {path}: end its name in {' or '.join(PICTURES)}")
    if path is not None and not path.absolute().parent.is_dir():
        raise UserError(f"--output {path}: there is no folder {path.parent}")
    return path


def _vector(path: Path, asked: str | None, files: "ModelFiles") -> Any:
    """A vector of a safetensors file; `UserError` unless it is as wide as the stream."""
    import numpy as np
    from safetensors import SafetensorError, safe_open

    from stable_regions.base.files import read_header

    if not path.is_file():
        raise UserError(f"--direction {path}: there is no such file")
    header = read_header(path)
    row = ROW.fullmatch(asked or "")
    name = row["name"] if row else asked
    if name is None:
        if len(header) != 1:
            several = ", ".join(sorted(header)[:8]) + (", ..." if len(header) > 8 else "")
            raise UserError(
                f"{path}: holds {len(header)} tensors, say with --tensor which: {several}"
            )
        [name] = header
    if name not in header:
        raise UserError(f"{path}: holds no tensor {name!r}; it has {', '.join(sorted(header)[:8])}")
    dtype, shape = header[name]
    wanted = shape[1:] if row else [size for size in shape if size != 1]
    if len(wanted) != 1:
        hint = f"; --tensor '{name}[0]' is its first row" if len(shape) == 2 else ""
        raise UserError(f"{path}: {name} has the shape {shape}: a vector is needed{hint}")
    if wanted[0] != files.width:
        raise UserError(
            f"{path}: {name} is {wanted[0]} wide; the residual stream of {files.name} is "
            f"{files.width}"
        )
    if row and int(row["row"]) >= shape[0]:
        raise UserError(f"{path}: {name} has rows 0 to {shape[0] - 1}, not {row['row']}")
    try:
        framework = "pt" if dtype == "BF16" else "numpy"  # which NumPy has no type for
        with safe_open(path, framework=framework) as file:
            part = file.get_slice(name)[int(row["row"])] if row else file.get_tensor(name)
        values = np.asarray(part.double() if dtype == "BF16" else part, dtype=np.float64).ravel()
    except (SafetensorError, TypeError, ValueError) as error:
        raise UserError(f"{path}: {name} cannot be read ({first_line(error)})") from None
    if not np.isfinite(values).all():
        raise UserError(f"{path}: {name} holds a number that is not finite")
    return values


def _quiet() -> None:
    """Progress is ours, one line every few seconds; other libraries' bars would bury it."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # a network that is not there is told of at once
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", "3")
    log = logging.getLogger("stable_regions")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers = [logging.StreamHandler()]
    for stream in (sys.stdout, sys.stderr):  # what a terminal's encoding lacks is escaped
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _fail(line: str) -> int:
    print(f"error: {line}", file=sys.stderr)
    return 1


def _cache() -> Path:
    from stable_regions.front.files import cache_folder

    return cache_folder()
