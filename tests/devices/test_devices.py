"""Every public function with models "on cuda" (a stand-in): a tensor made on the processor there turns its test red."""

from __future__ import annotations

import copy
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from standin_device import CUDA, MixedDevices, StandInDevice, on_cuda

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "training"), str(TESTS / "app")]

import standin  # noqa: E402
import tiny_family  # noqa: E402

from app.core.descriptor_store import DescriptorStore  # noqa: E402
from app.core.model_slots import BASELINE, STABLE, TEACHER  # noqa: E402
from app.core.services import Services  # noqa: E402
from app.tabs.benchmarks.service import Benchmarks  # noqa: E402
from app.tabs.inside.service import Inspector  # noqa: E402
from app.tabs.stability.service import Stability  # noqa: E402
from app.tabs.training.service import Distillations  # noqa: E402
from scicevpr.datasets import Dataset, read_dataset  # noqa: E402
from scicevpr.descriptors.batches import Grouping  # noqa: E402
from scicevpr.descriptors.describe import describe, encode, region_vectors  # noqa: E402
from scicevpr.errors import UsageError  # noqa: E402
from scicevpr.evaluation import batch_effects, batch_mates  # noqa: E402
from scicevpr.evaluation.benchmark import evaluate  # noqa: E402
from scicevpr.evaluation.pca_fit import fit_pca  # noqa: E402
from scicevpr.evaluation.precision_cost import measure_modes  # noqa: E402
from scicevpr.evaluation.reference_vectors import check_arithmetic  # noqa: E402
from scicevpr.evaluation.verify import compute_arrays  # noqa: E402
from scicevpr.explanations import Explanation  # noqa: E402
from scicevpr.external_models.loading import probe_photos  # noqa: E402
from scicevpr.losses import multi_similarity_loss  # noqa: E402
from scicevpr.models.model import VPRModel, WeightsInfo, build_model  # noqa: E402
from scicevpr.models.native_checkpoints import hash_tensors, save_weights  # noqa: E402
from scicevpr.models.regions import GeM  # noqa: E402
from training.batches import TrainingPhotos  # noqa: E402
from training.cross_image import CrossImageTrainer, prepare_model  # noqa: E402
from training.distill import DistillTrainer, inherit  # noqa: E402
from training.distributed import Processes  # noqa: E402
from training.live import LIVE, LiveDistillation  # noqa: E402
from training.live_data import keep_maps, split_in_halves  # noqa: E402
from training.recipes import CrossImageRecipe, DistillRecipe, FullSizeRecipe  # noqa: E402
from training.stem_maps import StemMaps  # noqa: E402
from training.steps import Networks, accumulate_gradients, freeze_published, set_training  # noqa: E402
from training.trainer import Trainer  # noqa: E402

FAMILIES = ("scicevpr-x", "super-cricavpr-x", "cricavpr-x")
GOLDEN = TESTS / "golden"


@pytest.fixture(autouse=True)
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A GPU for the length of a test, and the tiny size X."""
    autocast = torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda _, **options: autocast("cpu", **options))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda *_: torch.get_rng_state())
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: None)
    tiny_family.register()
    with StandInDevice():
        yield
    tiny_family.unregister()


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two towns of four places, 600 m apart: two database photos and a query each."""
    root = standin.write_city(tmp_path_factory.mktemp("city"), places=6)
    return read_dataset(root)


@pytest.fixture(scope="module")
def towns(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Two towns apart, so that one half can be learnt from."""
    from test_live import write_towns

    return read_dataset(write_towns(tmp_path_factory.mktemp("towns") / "towns"))


def model_on_cuda(name: str) -> VPRModel:
    """A random model on the stand-in that may describe."""
    torch.manual_seed(3)
    model = build_model(name).to("cuda")
    model.weights = WeightsInfo("test", f"hash-{name}", "nothing", trained=False)
    model.allow_untrained = True
    return model


def services_over(dataset: Dataset) -> Services:
    """The app's services with all three models on the stand-in."""
    names = {STABLE: "scicevpr-x", BASELINE: "cricavpr-x", TEACHER: "super-cricavpr-x"}
    models = {role: (name, partial(model_on_cuda, name)) for role, name in names.items()}
    return Services({"Tiny": dataset}, models, DescriptorStore())


def all_of_stability(name: str, city: Dataset) -> None:
    """Every experiment on the batch."""
    setup = batch_effects.prepare_stability(model_on_cuda(name), city, database_regions=True)
    batch_effects.compare(setup, Grouping.sequential(4))
    batch_effects.photo_stability(setup, size=3, seeds=range(2))
    batch_effects.query_batches(setup, sizes=(1, 3), seeds=range(1))
    batch_effects.database_batches(setup, sizes=(1, 4))
    batch_effects.last_batch(setup, size=4)
    batch_mates.chosen_batch_mates(setup, 0, [1, 2])
    batch_mates.random_batches(setup, 0, size=3, draws=5)
    batch_mates.worst_batch(setup, 0, size=3, rounds=1)
    batch_mates.telling_pairs(setup, tries=20)
    batch_mates.database_plane(setup)


def all_explanations(name: str, city: Dataset) -> None:
    """Every picture of every step."""
    model = model_on_cuda(name)
    one, two = (Explanation(model, [photo.path for photo in city.queries[i : i + 3]]) for i in (0, 2))
    for step in one.views.values():
        for view in step:
            if view.is_map and ":-" not in view.key:  # the tiny size has fewer blocks than are shown
                one.heat_map(view.key, cell=(1, 1))
    if model.variant.cross_image:
        one.attention()
        one.rewriting()
    one.turning()
    one.correspondence(two)
    assert one.descriptors.shape[0] == 3


def all_of_describing(name: str, city: Dataset) -> None:
    """With and without the fused copy, and the encoder alone."""
    model, paths = model_on_cuda(name), [photo.path for photo in city.database]
    plain = describe(model, paths)
    assert plain.device == "cuda:0"
    fused = describe(model, paths, precision="float32")
    np.testing.assert_allclose(fused.values, plain.values, atol=1e-4)
    describe(model, paths[:2], framing="five_crops")
    assert describe(build_moved(name), paths[:2], device="cuda").device == "cuda:0"
    encode(model, region_vectors(model, paths), Grouping.sequential(5))
    probe_photos(model.variant.preprocessing, 2)
    hash_tensors(model.state_dict())


def build_moved(name: str) -> VPRModel:
    """A model of the processor, to be described on the stand-in."""
    model = build_model(name)
    model.allow_untrained = True
    return model


def all_of_evaluation(name: str, city: Dataset, tmp_path: Path) -> None:
    """Scores, PCA, precisions, writing weights."""
    model = model_on_cuda(name)
    assert evaluate(model, city).overall is not None
    fit_pca(model, city.root, dimension=4)
    measure_modes(model, city, modes=("float32",), rounds=1)
    save_weights(model, tmp_path / "weights.safetensors", info={})


def full_size_steps(name: str) -> None:
    """Steps of full-size training: all graphs held, and one at a time; then the optimiser's."""
    model, teacher = build_model(name), None
    if name.startswith("scicevpr"):
        teacher = build_model("super-cricavpr-x")
        inherit(model, teacher)
        teacher.to("cuda")
    else:
        freeze_published(model)
    networks = Networks(model.to("cuda"), teacher, "bf16")
    set_training(model)
    recipe = FullSizeRecipe(name, pixels=(56, 56), places=4, photos=2, chunk=4)
    photos, labels = torch.randn(8, 3, 56, 56), torch.arange(4).repeat_interleave(2)
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    for at_once in (0, 1):
        parts = accumulate_gradients(
            networks, photos.split(4), labels, [1, 2], recipe, Processes(CUDA), at_once=at_once
        )
        assert parts["loss"] >= 0
        assert all(on_cuda(p.grad) for p in model.parameters() if p.grad is not None)
        optimiser.step()


def toy_stem_maps(towns: Dataset, folder: Path) -> StemMaps:
    """Random maps of eight photos, and a validation set."""
    root = folder / "city"
    if not root.exists():
        for photo in (*towns.database[:2], *towns.queries[:2]):
            place = root / "images" / "val" / photo.path.parent.name
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo.path, place)
    maps = np.memmap(folder / "maps", np.int16, "w+", shape=(2, 8, 427, 14, 14))
    maps[:] = np.random.default_rng(0).normal(size=maps.shape).astype(np.float16).view(np.int16)
    return StemMaps(root, TrainingPhotos(np.arange(8) // 4, np.zeros(8, int)), maps)


def small_steps(name: str, towns: Dataset, folder: Path) -> None:
    """A step and the validation of a stage of size T."""
    maps = toy_stem_maps(towns, folder)
    sizes = {"places": 2, "cities": None, "epochs": 1}
    trainer: Trainer
    if name == "scicevpr-t":
        save_weights(build_model("super-cricavpr-t"), folder / "teacher.safetensors", info={})
        recipe = DistillRecipe(**sizes, keep=1.0, from_teacher=True, chunk=8)
        trainer = DistillTrainer(maps, folder / "run", recipe, folder / "teacher.safetensors", "cuda")
    else:
        start = prepare_model(CrossImageRecipe(), maps.draw(np.arange(8)), None)
        if name == "cricavpr-t":
            save_weights(start, folder / "blocks.safetensors", info={})
            start = prepare_model(CrossImageRecipe(variant=name), None, folder / "blocks.safetensors")
        recipe = CrossImageRecipe(variant=name, **sizes, chunk=8)
        trainer = CrossImageTrainer(maps, folder / "run", recipe, lambda: start, device="cuda")
    assert trainer.train()
    assert on_cuda(next(trainer.model.parameters()))


def live_distillation(towns: Dataset) -> None:
    """The Training tab's small run, with a teacher on the stand-in."""
    maps = keep_maps(model_on_cuda("super-cricavpr-x"), split_in_halves(towns))
    work = LiveDistillation(maps, replace(LIVE, places=4, epochs=1))
    assert len(list(work.steps())) > 2
    describe(work.student, [photo.path for photo in towns.queries])


def app_services(city: Dataset, towns: Dataset) -> None:
    """Find, Inside, Stability, Benchmarks, Training: what the page's tabs ask for."""
    services, query = services_over(city), city.queries[0]
    assert services.find(query.path, query.name, batch_mates=2).stable.hits
    for role in (STABLE, BASELINE, TEACHER):
        Inspector(services).inspect(query.path, query.name, None, role, 1, 2)
        assert Benchmarks(services).measure(None, role).evaluation.overall.recalls
    stability = Stability(services)
    session = stability.session(query.path, query.name, None)
    stability.react(session, [1, 2], stability.pool(session))
    next(iter(stability.worst(session, 3)))
    assert len(list(stability.curve("Tiny", sizes=(1, 3), orders=("file",), seeds=1))) >= 4
    with suppress(UsageError):  # random models may have no telling pair
        stability.pairs("Tiny")
    learning = services_over(towns)
    distillations = Distillations(learning)
    assert list(distillations.run(replace(LIVE, places=4, epochs=1)))[-1].scores


def reference_arithmetic() -> None:
    """What `scicevpr verify` computes on a device."""
    checks = check_arithmetic(GOLDEN / "losses.npz", CUDA, torch.float32)
    assert all(check.passed for check in checks)
    model = model_on_cuda("super-cricavpr-x")
    images = torch.randn(4, 3, 56, 56).to("cuda")
    assert compute_arrays(model, images, images, ["noise_batch4", "mid_regions", "blocks_alone"])


@dataclass(frozen=True)
class World:
    """What the functions are tried on."""

    city: Dataset
    towns: Dataset
    folder: Path


WORK: dict[str, Callable[[World], None]] = {
    **{f"describe {n}": lambda w, n=n: all_of_describing(n, w.city) for n in FAMILIES},
    **{f"explain {n}": lambda w, n=n: all_explanations(n, w.city) for n in FAMILIES},
    **{f"stability {n}": lambda w, n=n: all_of_stability(n, w.city) for n in FAMILIES},
    **{f"evaluate {n}": lambda w, n=n: all_of_evaluation(n, w.city, w.folder) for n in FAMILIES},
    **{f"train {n}": lambda w, n=n: full_size_steps(n) for n in FAMILIES},
    **{f"train {n}": lambda w, n=n: small_steps(n, w.towns, w.folder)
       for n in ("super-cricavpr-t", "cricavpr-t", "scicevpr-t")},
    "live distillation": lambda w: live_distillation(w.towns),
    "verify": lambda w: reference_arithmetic(),
    "app": lambda w: app_services(w.city, w.towns),
}  # fmt: skip


@pytest.fixture
def world(city: Dataset, towns: Dataset, tmp_path: Path) -> World:
    return World(city, towns, tmp_path)


SLOW = ("app", "train super-cricavpr-t", "train cricavpr-t", "train scicevpr-t")


@pytest.mark.parametrize("what", [pytest.param(w, marks=[pytest.mark.slow] if w in SLOW else []) for w in WORK])
def test_nothing_is_left_on_the_processor(what: str, world: World) -> None:
    WORK[what](world)


@pytest.mark.parametrize("what", [what for what in WORK if not what.startswith("verify") and "-x" in what])
def test_a_tensor_made_on_the_processor_is_found(what: str, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault that the tests above are for, planted into the pooling that all of them pass."""
    pool = GeM.forward

    def planted(self: GeM, *given: object) -> torch.Tensor:
        return pool(self, *given) + torch.zeros(3).sum(0, keepdim=True)

    monkeypatch.setattr(GeM, "forward", planted)
    with pytest.raises(MixedDevices, match="on the same device"):
        WORK[what](world)


def test_the_stand_in_behaves_as_a_device() -> None:
    here, there = torch.ones(3), torch.ones(3).to("cuda")
    assert (here.device.type, there.device, there.is_cuda) == ("cpu", CUDA, True)
    for mix in (lambda: here + there, lambda: torch.cat([here, there]), lambda: multi_similarity_loss(
        torch.eye(3).to("cuda"), torch.arange(3))):  # fmt: skip
        with pytest.raises(MixedDevices):
            mix()
    with pytest.raises(TypeError, match="numpy"):
        there.numpy()
    assert on_cuda(there[here > 0] * torch.tensor(2.0))
    assert on_cuda(copy.deepcopy(torch.nn.Linear(2, 2).to("cuda")).weight)
    assert not on_cuda(there.cpu())
    assert (there.cpu().numpy() == here.numpy()).all()
