"""space push: the page as a Hugging Face Space, with the models and the city as repositories of their own if asked."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from scicevpr.cli import options
from scicevpr.cli.outputs import make_table, open_console, plain_cell, print_line
from scicevpr.errors import UsageError

MODELS = ("scicevpr-t", "super-cricavpr-t", "cricavpr-t")


def add_parser(commands: argparse._SubParsersAction) -> None:
    """Add the command."""
    actions = options.add_actions(commands, "space", help="publish the page as a Hugging Face Space")
    parser = actions.add_parser(
        "push",
        help="make or update a Space from this checkout",
        description="Make or update a Space: only the files it needs, in one commit. Its secrets, variables and "
        "hardware stay as they are. Log in first: hf auth login, or HF_TOKEN.",
    )
    add = parser.add_argument
    add("repository", metavar="OWNER/NAME", help="the Space; made if it is missing")
    add("--dry-run", action="store_true", help="list the files and their sizes, and send nothing")
    add("--models", metavar="OWNER", help="also publish the bundled models as OWNER/scicevpr-t and so on, with cards")
    add("--city", metavar="OWNER/NAME", help="also publish the bundled city as this data set repository, with a card")
    add("--private", action="store_true", help="make repositories private if they are made")
    add("--checkout", type=Path, metavar="DIR", help="the project's folder (default: the one this program runs from)")
    add("--endpoint", metavar="URL", help="another Hub than huggingface.co (default: HF_ENDPOINT)")
    parser.set_defaults(run=push)


def push(arguments: argparse.Namespace) -> int:
    """Send the Space, after its models and its data set."""
    from scicevpr.files.writing import bytes_label
    from scicevpr.hub.space import check_repository, checkout_folder, push_city, push_space, space_files

    check_repository(arguments.repository)
    if arguments.models and "/" in arguments.models:
        raise UsageError(f"--models takes the OWNER alone; {arguments.models!r} is more. The models keep their names.")
    if arguments.city:
        check_repository(arguments.city)
    models = [f"{arguments.models}/{name}" for name in MODELS] if arguments.models else []
    datasets = [arguments.city] if arguments.city else []
    files = space_files(arguments.checkout or checkout_folder(), models, datasets)
    console, total = open_console(), sum(file.size for file in files)
    if arguments.dry_run:
        table = make_table("file", numbers=("bytes",))
        for file in files:
            if not file.name.startswith("assets/procity/images/"):
                table.add_row(plain_cell(file.name), f"{file.size:,}")
        console.print(table)
        folders: Counter[str] = Counter()
        for file in files:
            folders[file.name.partition("/")[0] if "/" in file.name else "(top)"] += file.size
        for folder, size in folders.items():
            print_line(console, f"{folder}: {bytes_label(size)}")
        photos = sum(file.name.startswith("assets/procity/images/") for file in files)
        print_line(
            console, f"{len(files)} files, {bytes_label(total)}, of which {photos} photos of the city not listed."
        )
        for name in (*models, *datasets):
            print_line(console, f"also: {name}")
        print_line(console, f"Nothing was sent to {arguments.repository}. Without --dry-run it is.")
        return 0
    _push_models(models, arguments)
    if arguments.city:
        print_line(console, push_city(arguments.city, private=arguments.private, endpoint=arguments.endpoint))
    print_line(console, f"Sending {len(files)} files, {bytes_label(total)}.")
    url = push_space(arguments.repository, files, private=arguments.private, endpoint=arguments.endpoint)
    print_line(console, f"{arguments.repository}: {url}")
    return 0


def _push_models(repositories: list[str], arguments: argparse.Namespace) -> None:
    from scicevpr.hub.load import load_model
    from scicevpr.hub.pretrained import push_to_hub

    for repository in repositories:
        model = load_model(repository.partition("/")[2], local_files_only=True)
        url = push_to_hub(model, repository, private=arguments.private or None, endpoint=arguments.endpoint)
        print_line(open_console(), f"{repository}: {url}")
