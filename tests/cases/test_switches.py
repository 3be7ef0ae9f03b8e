"""Switches of the whole process, thrown by several threads; and errors of ours, which are not the Hub's fault."""

from __future__ import annotations

import logging
import threading

import pytest

from scicevpr.errors import DatasetError, UsageError
from scicevpr.hub import download as repository
from scicevpr.hub.sources import HubFile
from scicevpr.progress import silenced, thrown


def test_loggers_are_as_before_when_the_last_thread_is_done():
    logger = logging.getLogger("scicevpr.tests.noisy")
    logger.setLevel(logging.INFO)
    inside, go_on = threading.Event(), threading.Event()

    def first() -> None:
        with silenced(["scicevpr.tests.noisy"], logging.CRITICAL):
            inside.set()
            go_on.wait(60)

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(60)
    with silenced(["scicevpr.tests.noisy"], logging.CRITICAL):
        go_on.set()
        thread.join()
        assert logger.level == logging.CRITICAL, "the one who is still inside needs it"
    assert logger.level == logging.INFO


def test_a_switch_is_put_back_after_an_error():
    values = {"a": 1}

    def fail() -> None:
        with thrown("a", lambda: values["a"], lambda value: values.update(a=value), 2):
            raise UsageError(f"it is {values['a']}")

    with pytest.raises(UsageError, match="it is 2"):
        fail()
    assert values == {"a": 1}


def _download(monkeypatch, fail) -> None:
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    repository.download_from_hub(HubFile("a/b", "c", None), progress=lambda *_: None)


def test_an_error_of_ours_is_not_called_a_broken_download(monkeypatch):
    def ours(*_, **__):
        raise DatasetError("mine")

    def download_with_a_failing_bar(*_, tqdm_class, **__):
        tqdm_class(total=3).update(1)

    with pytest.raises(DatasetError, match="mine"):
        _download(monkeypatch, ours)
    monkeypatch.setattr(repository, "_bar", lambda _: _Failing)
    with pytest.raises(ZeroDivisionError):
        _download(monkeypatch, download_with_a_failing_bar)


def test_what_the_transport_raises_is_explained(monkeypatch):
    def broken(*_, **__):
        raise ConnectionResetError("peer")

    with pytest.raises(repository.WeightsError, match="broke off"):
        _download(monkeypatch, broken)


class _Failing:
    def __init__(self, **_) -> None:
        pass

    def update(self, _) -> None:
        repository.hub_endpoint(_Bad())


class _Bad:
    def rstrip(self, _) -> float:
        return 1 / 0
