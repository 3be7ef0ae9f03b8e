"""What all commands have in common: -v and -q, a help that begins with what most people need, and shell completion."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator
from typing import Any

LONG = 16  # options from which on --help shows the common ones only
COMMON = {
    *("--dataset", "--database", "--queries", "--in", "--pack", "--split", "--model", "--weights", "--top", "--device"),
    *("--json", "--output", "--save-predictions", "--ground-truth", "--no-labels", "--recall-values", "--precision"),
}
EXIT_CODES = """\
exit codes: 0 done; 1 a check found something (verify, pack check, index check ...); 2 an error, or a data set that
cannot be used; 130 stopped with Ctrl-C.
environment: SCICEVPR_CACHE (where downloads and computed things are kept), SCICEVPR_OFFLINE=1 (never use the network),
DATASETS_FOLDER (where data sets are), SCICEVPR_WEIGHTS (weights of variants), HF_TOKEN.
"""


def finish(parser: argparse.ArgumentParser) -> None:
    """Add to every command what all have; the parser of the program itself gets the exit codes."""
    parser.epilog, parser.formatter_class = EXIT_CODES, argparse.RawDescriptionHelpFormatter
    for _, command in leaves(parser):
        if not command.add_help:  # its options are read elsewhere
            continue
        group = command.add_argument_group("how much is said")
        add = group.add_argument
        add("-v", "--verbose", action="store_true", help="also say what is done (log messages of level INFO)")
        add("-q", "--quiet", action="store_true", help="no progress bars, no notes: results and errors only")
        options = [action for action in command._actions if action.option_strings]
        if len(options) >= LONG:
            _shorten(command, options)


def apply(arguments: argparse.Namespace) -> None:
    """Let -v and -q hold."""
    from scicevpr.cli import outputs

    outputs.quiet(getattr(arguments, "quiet", False))
    if getattr(arguments, "verbose", False):
        logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")


def leaves(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(words, parser) of every command that has no commands below it."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield path, parser
    for action in below:
        for name, inner in action.choices.items():
            yield from leaves(inner, (*path, name))


def _shorten(command: argparse.ArgumentParser, options: list[argparse.Action]) -> None:
    """--help shows the common options, --help-all every one."""
    kept = COMMON | {"--help", "--quiet"}
    hidden = [action for action in options if not kept.intersection(action.option_strings)]
    helps = {id(action): action.help for action in hidden}

    class Short(argparse.Action):
        def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
            for action in hidden:
                action.help = argparse.SUPPRESS
            text = parser.format_help()
            for action in hidden:
                action.help = helps[id(action)]
            parser._print_message(f"{text}\n{len(hidden)} more options: {parser.prog} --help-all\n", sys.stdout)
            parser.exit()

    [old] = [action for action in options if action.dest == "help"]
    for text in old.option_strings:
        del command._option_string_actions[text]
    command._actions.remove(old)
    command._optionals._group_actions.remove(old)
    add = command.add_argument
    add("-h", "--help", action=Short, nargs=0, default=argparse.SUPPRESS, help="the common options")
    add("--help-all", action="help", default=argparse.SUPPRESS, help="every option")


# ---- shell completion ------------------------------------------------------------------------------------------------


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "completion",
        help='words for the Tab key: eval "$(scicevpr completion bash)"',
        description="Print a script for bash or zsh that completes commands and options. In ~/.bashrc or ~/.zshrc: "
        'eval "$(scicevpr completion bash)"',
    )
    parser.add_argument("shell", choices=("bash", "zsh"))
    parser.set_defaults(run=completion)


def completion(arguments: argparse.Namespace) -> int:
    """Print the script."""
    from scicevpr.cli.main import build_parser

    tree: dict[str, list[str]] = {}
    for path, command in leaves(build_parser()):
        for depth, word in enumerate(path):
            known = tree.setdefault(" ".join(path[:depth]), [])
            known += [word] if word not in known else []
        words = [text for action in command._actions for text in action.option_strings if text.startswith("--")]
        choices = [str(c) for action in command._actions if not action.option_strings for c in action.choices or ()]
        tree[" ".join(path)] = [*choices, *words]
    cases = "\n".join(f'    "{path}") words="{" ".join(words)}" ;;' for path, words in tree.items())
    start = "autoload -Uz bashcompinit && bashcompinit\n" if arguments.shell == "zsh" else ""
    print(  # noqa: T201
        f"""{start}_scicevpr() {{
  local path="" word words="" i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="${{COMP_WORDS[i]}}"
    case "$word" in -*) break ;; esac
    word="${{path:+$path/}}$word"
    case " {" ".join(_folders(tree))} " in *" $word "*) path="$word" ;; *) break ;; esac
  done
  case "${{path//\\// }}" in
{cases}
  esac
  COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _scicevpr scicevpr"""
    )
    return 0


def _folders(tree: dict[str, list[str]]) -> list[str]:
    """Every path of commands, with / between its words."""
    return [path.replace(" ", "/") for path in tree if path]
