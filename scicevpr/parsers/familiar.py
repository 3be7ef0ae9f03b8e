"""Options under the names that other tools of the field use, so that a command line people know still works.

Those of the published SciceVPR and CricaVPR codes (--resume, --backbone_arch ...) and of VPR-methods-evaluation
(--method ...). What the weights decide is checked against them; what only matters in training is accepted, and said
once.
"""

from __future__ import annotations

import argparse

from scicevpr.parsers import options

IGNORED = {
    "--foundation_model_path": "a checkpoint holds its own backbone",
    "--crica_path": "the teacher matters only in training",
    "--train_positives_dist_threshold": "training",
    "--train_batch_size": "training",
    "--epochs_num": "training",
    "--lr": "training",
    "--optim": "training",
    "--patience": "training",
}
"""Option -> why it has no effect on an evaluation."""


def familiar_options(parser: argparse.ArgumentParser) -> None:
    """Which model, in other tools' words."""
    group = parser.add_argument_group("names of other tools")
    group.add_argument("--resume", dest="weights", action="append", metavar="FILE", help="a checkpoint, as --weights")
    group.add_argument("--method", metavar="NAME", help="scicevpr, super-cricavpr, cricavpr, or what --model accepts")
    group.add_argument(
        "--backbone", "--backbone_arch", metavar="NAME",
        help="t, s, b, l or dinov2_vits14, dinov2_vitb14, dinov2_vitl14 (default: the weights', or t with --method)",
    )  # fmt: skip
    for name in ("--descriptors_dimension", "--layer1", "--backbone_out_dim", "--mix_in_dim", "--token_num"):
        group.add_argument(name, type=options.positive, metavar="N", help="must be what the weights are for")
    group.add_argument("--token_ratio", type=float, metavar="R", help="must be 1")
    group.add_argument(
        "--out_indices", type=int, nargs="+", metavar="N", help="tapped blocks; must be what the weights are for"
    )
    for name, reason in IGNORED.items():
        group.add_argument(name, metavar="VALUE", help=f"no effect here: {reason}")
