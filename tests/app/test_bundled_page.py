"""What the page says of the bundled city with the bundled weights: the tour's example, the scale of cosines."""

from __future__ import annotations

import numpy as np
import pytest

from app.start import CITY_NAME, make_services, read_arguments
from app.tabs.find.place import place_html
from app.tabs.find.scale import scale_html, scale_of
from app.ui.tour import EXAMPLE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def services():
    return make_services(read_arguments(["--no-cache"]))


@pytest.fixture(scope="module")
def found(services):
    example = services.examples(CITY_NAME)[EXAMPLE - 1]
    return [services.find(example.path, example.name, CITY_NAME, batch_mates=others) for others in (0, 7)]


def test_the_tours_example_flips_cricavpr_and_not_scicevpr(found):
    alone, together = found
    assert [answer.first_positive for answer in (alone.stable, together.stable, alone.baseline)] == [1, 1, 1]
    assert together.baseline.first_positive > 1


def test_the_answer_is_one_sentence_of_a_city_that_does_not_exist(found):
    words = place_html(found[0])
    assert "Most likely here:" in words
    assert "drawn city that exists nowhere" in words
    assert "openstreetmap" not in words
    assert "That is right:" in words
    assert "leads the best other place by 0." in words
    assert "CricaVPR-T names the same place." in words


def test_the_bundled_weights_have_a_measured_scale(found):
    """It fails after new weights were published: python -m benchmarks.similarities measures them."""
    for answer in found[0].answers:
        scale = scale_of(answer.weights)
        assert scale is not None, answer.title
        assert len(scale.right) + len(scale.wrong) == 270
        assert np.median(scale.right) > np.median(scale.wrong)
        assert "Other models have other scales" in scale_html(answer)
        right, total = scale.right_nearby(float(scale.right.max()))
        assert right / total > len(scale.right) / 270
