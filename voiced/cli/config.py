"""`voiced config`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from voiced.cli.settings import add_config_argument, config_path

HELP = "show the configuration in force, secrets masked, or every fault in it"
EXAMPLE = "voiced config --defaults > ~/.config/voiced/config.toml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_config_argument(parser)
    parser.add_argument(
        "--defaults", action="store_true", help="every key, commented, at its default"
    )
    parser.add_argument("--check", action="store_true", help="only look for faults")


def run(args: argparse.Namespace) -> int:
    """Print TOML."""
    from voiced.settings import Sources

    if args.defaults:
        print(defaults(), end="")
        return 0
    path = config_path(args)
    config = Sources(path, {}).read().config
    if args.check:
        return 0
    print(f"# from {path or 'the defaults'}, and VOICED_ variables")
    for section, values in config.model_dump().items():
        if section != "backends":
            print(f"\n[{section}]")
            _print_keys(values)
    for backend_id, values in config.backends.items():
        print(f"\n[backends.{json.dumps(backend_id)}]")
        _print_keys(values)
    return 0


def defaults() -> str:
    """Return the commented file that is shipped as `configs/voiced.toml`."""
    from voiced.config import DEFAULT_BACKENDS, Config, Section

    lines = [
        "# voiced: every key, commented, at its default.",
        "#",
        "# Read from --config, $VOICED_CONFIG, ~/.config/voiced/config.toml or",
        "# /etc/voiced/config.toml; the first that is there. A variable VOICED_SECTION__KEY goes",
        "# before the file, a flag of `voiced serve` before both.",
    ]
    for name, field in Config.model_fields.items():
        section = field.annotation
        if not (isinstance(section, type) and issubclass(section, Section)):
            continue
        title = (section.__doc__ or "").partition(": ")[2].rstrip(".\n ")
        lines += ["", f"# {title[:1].upper()}{title[1:]}.", f"[{name}]"]
        instance = section()
        for key, key_field in section.model_fields.items():
            default = _plain(getattr(instance, key))
            if name == "zeroconf" and key == "name":
                default = "voiced on <host>"
            lines.append(f"# {key_field.description}")
            lines.append(f"#{key} = {_toml(default)}")
    for backend_id, values in DEFAULT_BACKENDS.items():
        lines += ["", "# A backend: an engine or provider under an id of yours."]
        lines.append(f"#[backends.{backend_id}]")
        lines += [f"#{key} = {_toml(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _print_keys(values: dict[str, Any]) -> None:
    for key, value in values.items():
        is_secret = (
            key == "key" or key.endswith(("_key", "token")) or hasattr(value, "get_secret_value")
        )
        masked = "********" if is_secret and _plain(value) else _plain(value)
        print(f"{key} = {_toml(masked)}")


def _plain(value: object) -> object:
    from pydantic import SecretStr

    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _toml(value: object) -> str:
    """Write a value; JSON's way is TOML's for all that stands in a configuration."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, ensure_ascii=False)
