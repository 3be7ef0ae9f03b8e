"""A folder as torch.hub knows them, with tiny models that behave well or badly, and a machine without network."""

from __future__ import annotations

import socket
from pathlib import Path

import torch

from scicevpr.external_models.loading import ExternalModel, load_external

HUBCONF = '''
dependencies = ["torch"]
import torch
from util import Pooled

def plain(values=12):
    """One descriptor a photo, of no particular length."""
    print("loading")
    torch.manual_seed(5)
    return Pooled(values)

def with_attention():
    model = plain()
    return lambda x: (torch.nn.functional.normalize(model.eval()(x), dim=1), [torch.ones(1)])

def parallel():
    return torch.nn.DataParallel(plain())

class Crowd(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = plain()
    def forward(self, x):
        values = self.inner(x)
        return values + 0.5 * values.mean(dim=0, keepdim=True)

def crowd():
    return Crowd()

class Random(Crowd):
    def forward(self, x):
        return torch.nn.functional.dropout(self.inner(x), 0.5, training=True)

def random_each_time():
    return Random()

def wrong(kind):
    return {
        "maps": lambda x: x,
        "one": lambda x: x.mean(dim=(0, 2, 3)),
        "dict": lambda x: {"global": x, "local": x},
        "none": lambda x: None,
        "nan": lambda x: x.mean(dim=(2, 3)) * float("nan"),
        "zeros": lambda x: torch.zeros(len(x), 4),
        "binary": lambda x: torch.ones(len(x), 4, dtype=torch.uint8),
        "number": 3,
    }[kind]

def cuda():
    return plain().cuda()

def lacking():
    import timm_that_nobody_has
    return plain()

def downloading():
    torch.hub.load_state_dict_from_url("https://weights.invalid/other.pth")

def asking_github():
    return torch.hub.load("facebookresearch/dinov2", "dinov2_vits14")
'''
UTIL = """
from torch import nn

class Pooled(nn.Module):
    def __init__(self, values):
        super().__init__()
        self.layer = nn.Conv2d(3, values, 14, stride=14)
        self.drop = nn.Dropout(0.5)
    def forward(self, x):
        return self.drop(self.layer(x).relu().mean(dim=(2, 3)) + 0.01)
"""


def write_hub(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "hubconf.py").write_text(HUBCONF)
    (folder / "util.py").write_text(UTIL)
    return folder


def load_entry(hub: Path, entry: str, **options) -> ExternalModel:
    return load_external(f"hub:{hub}:{entry}", trust=True, size=56, **options)


def random_photos(count: int, side: int = 56) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(3))


def cut_off(monkeypatch, home: Path) -> None:
    """No connection can be made, and torch.hub keeps its things under `home`."""

    def refuse(*_, **__):
        raise OSError("no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setenv("TORCH_HOME", str(home))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
