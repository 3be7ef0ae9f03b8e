"""What each choice of the T family's recipe does: its teacher trained briefly, one number changed at a time.

    python benchmarks/ablation.py --data data/procity --runs runs/ablation --real ../photos/corridor ../photos/ie-tower

Every row is `python -m training.cross_image` for two epochs, for each seed, then `scicevpr evaluate` on the validation
cities, the bundled city and the folders of real photos: Recall@1 in percent, in file order, 16 photos a batch. What is
in ablation.json already is kept. Prints the table of docs/training.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

MODEL = "super-cricavpr-t"
EPOCHS = 2
CONDITIONS = ("day", "overcast", "rain", "fog", "snow", "dusk", "night", "autumn")
CASES: dict[str, tuple[str, ...]] = {
    "as shipped": (),
    "keep=0 (nothing holds the stem's similarities)": ("keep=0",),
    "keep=20": ("keep=20",),
    "chunk=8 (8 photos attend to each other)": ("chunk=8",),
    "chunk=192 (all of the batch)": ("chunk=192",),
    "cities=1 (all of a batch in one city)": ("cities=1",),
    "cities=none (of any city)": ("cities=none",),
    "lr=2e-4": ("lr=2e-4",),
    "lr=1e-3": ("lr=1e-3",),
    "stem_share=1 (blocks count fully from the start)": ("stem_share=1",),
    "1 view (no augmentation)": ("--views=1",),
    "2 views, published RandAugment": ("--views=2", "--augmentation=published"),
}
"""What is changed, in words, and as the stage's options or recipe fields."""


def train(options: argparse.Namespace, changes: tuple[str, ...], seed: int, folder: Path) -> None:
    """Train one teacher, if that was not done before."""
    views = [change for change in changes if change.startswith("--")]
    maps = "-".join(["maps", *(view.partition("=")[2] for view in views)])
    recipe = [f"epochs={EPOCHS}", f"validate_every={EPOCHS}", f"seed={seed}", *(c for c in changes if c not in views)]
    if not (folder / "finished").exists():
        run = ["training.cross_image", "--data", options.data, "--maps", options.runs.parent / maps, "--out", folder]
        _run([*run, "--threads", options.threads, *views, "--set", *recipe])


def recalls(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    """Recall@1 on every set, by its name; the bundled city is a mean over its eight conditions."""
    sets: dict[str, list[object]] = {"validation cities": ["--dataset", options.data, "--split", "val"]}
    sets["bundled city"] = []
    sets |= {real.name: ["--dataset", real] for real in options.real}
    found = {}
    for name, which in sets.items():
        report = folder / "report.json"
        weights = ["--variant", MODEL, "--weights", folder / "best.safetensors", "--threads", options.threads]
        _run(["scicevpr", "evaluate", *weights, *which, "--no-intervals", "--json", report])
        [result] = json.loads(report.read_text())["results"]
        scores = [group["recall_percent"]["1"] for label, group in result["conditions"].items() if label in CONDITIONS]
        found[name] = statistics.mean(scores) if name == "bundled city" else result["overall"]["recall_percent"]["1"]
    return found


def _run(words: list[object]) -> None:
    subprocess.run([sys.executable, "-m", *map(str, words)], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, default=Path("data/procity"))
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--real", type=Path, nargs="*", default=[], help="folders of real photos to measure on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("ablation.json"))
    options = parser.parse_args()
    rows = json.loads(options.out.read_text()) if options.out.exists() else {}
    for seed in options.seeds:
        for number, (title, changes) in enumerate(CASES.items()):
            row = rows.setdefault(title, {})
            if str(seed) not in row:
                folder = options.runs / f"{number}-{seed}"
                train(options, changes, seed, folder)
                row[str(seed)] = {name: round(value, 1) for name, value in recalls(options, folder).items()}
                options.out.write_text(json.dumps(rows, indent=1) + "\n")
    sets = list(next(iter(next(iter(rows.values())).values())))
    print(f"| teacher, {EPOCHS} epochs | {' | '.join(sets)} |\n|{' --- |' * (len(sets) + 1)}")
    for title, row in rows.items():
        cells = [" / ".join(f"{values[name]:.1f}" for values in row.values()) for name in sets]
        print(f"| {title} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
