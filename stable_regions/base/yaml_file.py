"""YAML files, with one clear line for a syntax error or a duplicate key."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from stable_regions.base.errors import UserError

# The C parser, where it was built, takes a tenth of the time; both read the same.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path) -> Any:
    """The plain values (no objects, no code) that a YAML file holds.

    Raises
    ------
    UserError
        No such file, not YAML, a tag that stands for an object, or a key that is there twice: YAML
        keeps the last of these and says nothing.
    """
    try:
        loader = _Loader(path.read_text(encoding="utf-8"))
        root = loader.get_single_node()
        repeated = next(_repeated(root), None)
        value = None if root is None else loader.construct_document(root)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise UserError(f"{path}: not YAML: {where}{error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    if repeated is not None:
        key, first, again = repeated
        raise UserError(
            f"{path}: line {again}: the key {key!r} is there twice, first in line {first}; keep one"
        )
    return value


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
