"""What stands in the environment before gradio is imported: nothing is reported, uploads have a folder of their own.

Gradio's own folder is shared by all its programs of a user, each of which serves everything in it.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "scicevpr-studio-"


def prepare() -> Path:
    """Set the variables; the folder for uploads, which goes when the program ends (or, was it killed, at the next
    start). GRADIO_TEMP_DIR says in which folder it is made."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    base = Path(os.environ.get("GRADIO_TEMP_DIR") or tempfile.gettempdir()).absolute()
    base.mkdir(parents=True, exist_ok=True)
    for left in base.glob(f"{PREFIX}*"):
        if _abandoned(left):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=base))
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    os.environ["GRADIO_EXAMPLES_CACHE"] = str(folder / "examples")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def register_with_zero_gpu() -> bool:
    """On ZeroGPU hardware a Space must name a function that may ask for the GPU, or it is stopped. The page describes
    on the processor, so this one only says what is there. False where the package `spaces` is not."""
    try:
        import spaces
    except ImportError:
        return False
    spaces.GPU(_gpu_name)
    return True


def _gpu_name() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"


def _abandoned(folder: Path) -> bool:
    """True for a folder of this user whose program does not run any more."""
    number = folder.name.removeprefix(PREFIX).partition("-")[0]
    if not number.isdigit() or folder.is_symlink() or os.name == "nt":
        return False
    try:
        if folder.stat().st_uid != os.getuid():
            return False
        os.kill(int(number), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
