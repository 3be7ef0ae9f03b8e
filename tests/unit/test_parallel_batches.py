"""Several batches at a time give what one thread gives, in order; nothing runs on after a stop or an error."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from scicevpr.descriptors.batches import BATCHES_PER_THREAD, Grouping, in_parallel_batches, parallel_batches_for
from scicevpr.descriptors.describe import describe
from scicevpr.errors import ImageError

CPU = torch.device("cpu")


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_they_are_for_many_batches_on_a_processor(two_threads):
    assert parallel_batches_for(2 * BATCHES_PER_THREAD, CPU) == 2
    assert parallel_batches_for(2 * BATCHES_PER_THREAD - 1, CPU) == 1
    assert parallel_batches_for(1000, torch.device("meta")) == 1


def test_results_come_in_order_by_threads_that_compute_alone(two_threads):
    seen = set()

    def run(batch):
        assert torch.is_inference_mode_enabled()
        seen.add((threading.current_thread().name, torch.get_num_threads()))
        time.sleep(0.01 * (3 - int(batch) % 4))  # later ones are done sooner
        return 2 * batch

    found = list(in_parallel_batches(run, (torch.tensor(n) for n in range(12)), 2))
    assert [int(value) for value in found] == list(range(0, 24, 2))
    assert {threads for _, threads in seen} == {1}
    assert len(seen) == 2
    assert torch.get_num_threads() == 2
    assert not torch.is_inference_mode_enabled()
    new = threading.Thread(target=lambda: seen.add(("new", torch.get_num_threads())))
    new.start()
    new.join()
    assert ("new", 2) in seen, "threads that begin later must not be left with one"


def test_an_error_comes_when_its_batch_is_due_and_nothing_runs_on(two_threads):
    running = []

    def run(batch):
        running.append(int(batch))
        if int(batch) == 2:
            raise ImageError("broken")
        time.sleep(0.02)
        running.remove(int(batch))
        return batch

    found, described = [], in_parallel_batches(run, (torch.tensor(n) for n in range(50)), 2)
    with pytest.raises(ImageError, match="broken"):
        found.extend(int(value) for value in described)
    assert found == [0, 1]
    assert running == [2]
    stopped = in_parallel_batches(run, (torch.tensor(n) for n in range(3, 50)), 2)
    next(stopped)
    stopped.close()
    assert running == [2]


@pytest.mark.parametrize("name", ["scicevpr-t", "cricavpr-t"])
def test_describing_in_parallel_is_describing_by_one_thread(models, name, two_threads):
    photos = torch.rand(13, 3, 224, 224, generator=torch.Generator().manual_seed(5))
    grouping = Grouping.sequential(3)
    models[name].allow_untrained = True
    many = describe(models[name], photos, grouping=grouping).values
    torch.set_num_threads(1)
    np.testing.assert_array_equal(many, describe(models[name], photos, grouping=grouping).values)
