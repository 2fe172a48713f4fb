"""YAML files, with one clear line for a syntax error or a duplicate key."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from stable_regions.base.errors import UserError

# The C parser, where it was built, takes a tenth of the time; both read the same.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Values that a file may stand for, with each alias written out: a few lines of them can stand for
# more than any memory holds, and what reads or prints the values writes them out.
MOST_VALUES = 1_000_000


def read_yaml(path: Path) -> Any:
    """The plain values (no objects, no code) that a YAML file holds.

    Raises
    ------
    UserError
        No such file, not YAML, a tag that stands for an object, a key that is there twice (YAML
        keeps the last of these and says nothing), or aliases that stand for too much.
    """
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        repeated = next(_repeated(root), None)
        if (values := _values(root, {})) > MOST_VALUES:
            count = "no end of" if values == math.inf else f"{values:.2g}"
            raise UserError(
                f"{path}: stands for {count} values with its aliases (`*name`) written out; "
                f"{MOST_VALUES:,} at most are read"
            )
        value = None if root is None else loader.construct_document(root)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"{path}: not YAML: {where}{error.problem}") from None
    except UserError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    if repeated is not None:
        key, first, again = repeated
        raise UserError(f"{path}: duplicate key {key!r} (lines {first} and {again}): remove one")
    return value


def _values(node: Any, known: dict[int, float]) -> float:
    """How many values a node stands for; without end if it holds itself."""
    if id(node) in known:
        return known[id(node)]
    known[id(node)] = math.inf  # until its parts are counted
    parts = node.value if isinstance(node, yaml.CollectionNode) else []
    if isinstance(node, yaml.MappingNode):
        parts = [value for _, value in parts]
    known[id(node)] = 1.0 + sum(_values(part, known) for part in parts)
    return known[id(node)]


def _repeated(root: Any) -> Iterator[tuple[str, int, int]]:
    """Duplicate keys of a mapping, with the lines of both.

    ruamel.yaml refuses them by itself, but takes 1e-3, 012 and `no` for something else than PyYAML,
    by which Snakemake reads the configuration that is checked here; and 10 times as long.
    """
    todo, seen = [root], set()
    while todo:
        node = todo.pop()
        if id(node) in seen:  # an alias
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            todo += node.value
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                todo.append(value)
                if isinstance(key, yaml.ScalarNode):
                    line = key.start_mark.line + 1
                    if key.value in lines:
                        yield key.value, lines[key.value], line
                    lines.setdefault(key.value, line)
