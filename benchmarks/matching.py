"""Re-ranking and trust from one run: fits on some data sets, judges on others, writes every number as JSON.

    python benchmarks/matching.py --model scicevpr-t \
        --fit val=data/procity:val corridor=DIR:test ie-tower=DIR:test --trust val --judge city=assets/procity:test:3

A data set is NAME=FOLDER:SPLIT, with :N every N-th query only. --fit: the weight of the inliers; --trust: which of
those trust is fitted on. Answers with their inliers are kept in --work, so a run that was interrupted goes on. The fits
are written with --assets to assets/weights/rerank.json and trust.json.
"""

from __future__ import annotations

import argparse
import json
import pickle
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from scicevpr.datasets import read_dataset  # noqa: E402
from scicevpr.evaluation import benchmark  # noqa: E402
from scicevpr.evaluation.answers import AnswerLists, gather_answers  # noqa: E402
from scicevpr.evaluation.fits import bundled_fits, write_fit  # noqa: E402
from scicevpr.evaluation.rerank import fit_weight, where_it_pays  # noqa: E402
from scicevpr.evaluation.trust import cue_table, fit_trust, trust_report  # noqa: E402
from scicevpr.evaluation.uncertainty import compare_recalls  # noqa: E402
from scicevpr.hub.load import load_model  # noqa: E402
from scicevpr.local_features.rerank import make_checker  # noqa: E402
from scicevpr.local_features.store import PointStore  # noqa: E402


class Answers:
    """Answers of one model to named data sets, computed when first needed and kept."""

    def __init__(self, name: str, work: Path) -> None:
        self.name, self.work, self.model = name, work, load_model(name)
        work.mkdir(parents=True, exist_ok=True)
        self.store = PointStore(work / "points")

    def of(self, source: str, unknown: bool = False) -> tuple[AnswerLists, Any]:
        """(answers, what checking cost) of NAME=FOLDER:SPLIT[:N]."""
        name, _, rest = source.partition("=")
        folder, split, *step = rest.split(":")
        kept = self.work / f"answers-{name}-{self.name}-{'unknown' if unknown else 'known'}.pkl"
        if not kept.is_file():
            dataset = read_dataset(ROOT / folder, split=split)
            if step:
                rows = np.arange(0, len(dataset.queries), int(step[0]))
                dataset = dataset.select_queries(rows, f"every {step[0]}. query")
            result = benchmark.evaluate(self.model, dataset, ns=(1, 20), precision="float32")
            memo_file = self.work / f"pairs-{name}.pkl"  # of this script's own folder alone
            memo = pickle.loads(memo_file.read_bytes()) if memo_file.is_file() else {}
            found = gather_answers(
                name,
                dataset,
                result.database.values,
                result.queries.values,
                unknown=unknown,
                places=result.places(),
                checker=make_checker("xfeat", store=self.store),
                memo=memo,
            )
            kept.write_bytes(pickle.dumps(found))
            memo_file.write_bytes(pickle.dumps(memo))
        return pickle.loads(kept.read_bytes())


def stages(answers: AnswerLists, checks: Any, by: str, weight: float) -> dict[str, Any]:
    """Recall@1 of one stage and of two, with the paired interval over places."""
    two = answers.reranked(by, weight)
    [row] = compare_recalls(two.right, answers.right, (1,), answers.places)
    return {
        "data": answers.name,
        "by": by,
        "weight": weight,
        "queries": row.queries,
        "one stage": row.recall_b,
        "re-ranked": row.recall_a,
        "difference": row.difference,
        "low": row.low,
        "high": row.high,
        "p": row.p_value,
        "only re-ranked right": row.only_a,
        "only one stage right": row.only_b,
        "recall@20": 100 * float(answers.right.any(axis=1).mean()),
        "ms a photo": checks.find_ms,
        "ms a pair": checks.check_ms,
        "bytes a photo": checks.bytes_a_photo,
        "only where it pays": where_it_pays(answers, by, weight),
    }


def main() -> int:
    """Fit, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=["scicevpr-t"])
    parser.add_argument("--fit", nargs="+", required=True, metavar="NAME=FOLDER:SPLIT")
    parser.add_argument("--trust", nargs="+", required=True, metavar="NAME")
    parser.add_argument("--judge", nargs="+", default=[], metavar="NAME=FOLDER:SPLIT[:N]")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "matching")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "matching.json")
    parser.add_argument("--assets", action="store_true", help="write the fits beside the weights")
    arguments = parser.parse_args()
    found = []
    for name in arguments.model:
        answers = Answers(name, arguments.work)
        fitted = {source.partition("=")[0]: answers.of(source) for source in arguments.fit}
        entry = fit_weight([part for part, _ in fitted.values()])
        weight = entry["weight"]
        trusted = [source for source in arguments.fit if source.partition("=")[0] in arguments.trust]
        unknown = [answers.of(source, True)[0] for source in trusted]
        known = [fitted[part][0] for part in arguments.trust]
        trust = {kind: fit_trust(known, unknown, kind == "inliers", weight) for kind in ("similarities", "inliers")}
        if arguments.assets:
            write_fit(bundled_fits("rerank"), answers.model, {"rerankers": {"xfeat": entry}})
            stored = {kind: part.to_json() for kind, part in trust.items()}
            write_fit(bundled_fits("trust"), answers.model, {"trust": stored})
        judged = {source.partition("=")[0]: answers.of(source) for source in arguments.judge}
        tables = [
            {**stages(*part, by, weight), "fitted on this": data in fitted}
            for data, part in {**fitted, **judged}.items()
            for by in ("xfeat", "inliers")
        ]
        reports = [
            {
                **trust_report(
                    name, judged[source.partition("=")[0]][0], answers.of(source, True)[0], trust, weight=own
                ),
                "re-ranked": own is not None,
            }
            for source in arguments.judge
            for own in (None, weight)
        ]
        cues = {
            data: cue_table(part, part.first_right, "right", trust)
            for data, (part, _) in fitted.items()
            if data not in arguments.trust
        }
        found.append(
            {
                "model": name,
                "weight": entry,
                "trust": {kind: part.to_json() for kind, part in trust.items()},
                "re-ranking": tables,
                "reports": reports,
                "right against wrong on other sets": cues,
                "checker": asdict(answers.store.options),
            }
        )
        for row in tables:
            print({key: value for key, value in row.items() if key != "only where it pays"})
        for report in reports:
            print(report["data"], report["re-ranked"], report["expected calibration error"], report["called unknown"])
            for table in ("right against wrong", "known against unknown"):
                for row in report[table]:
                    print("  ", table, row)
    arguments.output.write_text(json.dumps({"results": found}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
