"""YAML with the scalars of version 1.2 and without duplicate keys.

PyYAML follows version 1.1, in which `1e-3` is text, `010` is 8, `1:30` is 90 and `no` is false.
"""

import re
from typing import Any

import yaml

_SCALARS = {
    "tag:yaml.org,2002:null": r"(~|null|Null|NULL|)",
    "tag:yaml.org,2002:bool": r"(true|True|TRUE|false|False|FALSE)",
    "tag:yaml.org,2002:int": r"[-+]?[0-9]+",
    "tag:yaml.org,2002:float": (
        r"([-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
        r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))"
    ),
}


def _refusal(problem: str, where: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def compose_node(self, parent: Any, index: Any) -> Any:
        # An alias may hold itself, which no configuration can.
        if self.check_event(yaml.AliasEvent):
            raise _refusal("aliases are not taken", self.peek_event())
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key_node.value for key_node, _ in node.value]
        for key_node, _ in node.value:
            if key_node.tag != "tag:yaml.org,2002:str":
                raise _refusal(f"key {key_node.value!r} is not text", key_node)
            if keys.count(key_node.value) > 1:
                raise _refusal(f"key '{key_node.value}' is given twice", key_node)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _tag, _pattern in _SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_tag, re.compile(rf"^{_pattern}$"), None)
_Loader.add_constructor("tag:yaml.org,2002:int", lambda loader, node: int(node.value))


def parse_yaml(text: str) -> Any:
    """The value that a YAML text stands for.

    **Raises:** `yaml.YAMLError` for text that is not YAML, aliases, and keys that are not
    text or are given twice, and for text nested too deeply to read.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deeply") from None


def what_is_wrong(error: yaml.YAMLError) -> str:
    """One line from a YAML error, which spans many: the problem and where it is."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return " ".join(str(error).split())
    mark = error.problem_mark
    return f"{error.problem}, line {mark.line + 1}, column {mark.column + 1}"


def write_yaml(value: Any) -> str:
    """YAML text that `parse_yaml` reads back to an equal value, keys in their order."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
