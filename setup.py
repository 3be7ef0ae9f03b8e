"""What pip installs: the library, and inside it what stands beside it in the checkout.

`app` and `training` go to scicevpr/studio/ and `assets` to scicevpr/assets/, so that nothing of a general name lands in
site-packages. `scicevpr.cli.studio` finds the two packages there, `scicevpr.config.assets_folder` the assets. An
editable install leaves the checkout as it is: there the two packages keep their own names.
"""

import sys
from pathlib import Path

from setuptools import find_namespace_packages, setup

HERE = Path(__file__).parent
STUDIO = find_namespace_packages(str(HERE), include=["app", "app.*", "training", "training.*"])
PHOTOS = "procity/images/test"
EDITABLE = "editable_wheel" in sys.argv  # pip install -e: everything stays where it is

INSIDE = {"scicevpr.assets": "assets", **{f"scicevpr.studio.{name}": name.replace(".", "/") for name in STUDIO}}
README = (HERE / "README.md").read_text(encoding="utf-8")

setup(
    long_description=README.split("---\n", 2)[2],  # without the Space's header
    long_description_content_type="text/markdown",
    packages=[
        *find_namespace_packages(str(HERE), include=["scicevpr", "scicevpr.*"]),
        *(STUDIO if EDITABLE else INSIDE),
    ],
    package_dir={} if EDITABLE else INSIDE,
    package_data={
        "scicevpr": ["py.typed"],
        "scicevpr.assets": [
            "examples.json",
            "descriptors/*",
            "weights/*",
            "procity/README.md",
            "procity/*.csv",
            *(f"{PHOTOS}/{side}/*.jpg" for side in ("database", "queries")),
        ],
        "scicevpr.studio.training": ["README.md", "procity/shaders/*.glsl"],
        "scicevpr.studio.app": ["**/*.css", "**/*.js", "**/*.svg", "**/*.txt"],
    },
    include_package_data=False,
)
