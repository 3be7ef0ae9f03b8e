from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import huggingface_hub
import huggingface_hub.file_download
import numpy as np
import pytest
from huggingface_hub.errors import HfHubHTTPError
from pack_samples import described, small_pack
from pack_samples import stand_in as model
from stand_in_server import COMMIT, Served, stand_in

from scicevpr.datasets import catalogue
from scicevpr.errors import DatasetError, UsageError
from scicevpr.packs import open_pack
from scicevpr.packs.manifest import list_packs, read_manifest
from scicevpr.packs.sharing import check_photos_may_be_shared, pull_pack, push_pack

REPO = "me/tiny-city"
DESCRIPTORS = "descriptors/scicevpr-t.aaaaaaaaaaaa.safetensors"


@pytest.fixture(scope="module")
def folder(tiny_city, tmp_path_factory):
    return small_pack(tmp_path_factory.mktemp("packs") / "pack", tiny_city, title="Tiny city").folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.file_download, "time", SimpleNamespace(sleep=lambda _: None))
    return tmp_path / "hub"


@pytest.fixture
def server(cache, monkeypatch):
    """A local stand-in is the Hub."""
    with stand_in() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        yield running


def _serve(server, folder):
    """Offer a pack as a data set repository, with a file that does not belong to it."""
    contents = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    contents["train.py"] = b"import os"
    for name, content in contents.items():
        for revision in ("main", COMMIT):
            server.add_hub_file(f"datasets/{REPO}", name, content, revision)
    tree = [{"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in contents.items()]
    answers = {
        f"/api/datasets/{REPO}/revision/main": {"id": REPO, "sha": COMMIT, "siblings": []},
        f"/api/datasets/{REPO}/tree/{COMMIT}?recursive=true&expand=false": tree,
    }
    for path, answer in answers.items():
        headers = {"Content-Type": "application/json"}
        server.files[path] = Served(json.dumps(answer).encode(), headers=headers)


def _downloads(server):
    return [path for method, path, _ in server.requests if method == "GET" and "/resolve/" in path]


def test_pulled_once_a_pack_opens_by_name_without_the_network(server, cache, folder):
    _serve(server, folder)
    pack = pull_pack(REPO)
    assert pack.title == "Tiny city"
    assert pack.folder == cache / "datasets--me--tiny-city" / "snapshots" / COMMIT
    assert not (pack.folder / "train.py").exists(), "only the files of a pack are fetched"
    before = len(_downloads(server))
    assert pull_pack(REPO).folder == pack.folder
    assert len(_downloads(server)) == before, "nothing is fetched twice"

    requests = len(server.requests)
    again = open_pack(REPO)
    np.testing.assert_array_equal(again.descriptors(model()).values, described(12, model()).values.astype(np.float16))
    assert pull_pack(REPO, local_files_only=True).folder == again.folder
    assert [(found.reference, found.source) for found in list_packs(cache / "none")] == [(REPO, "Hub")]
    assert len(server.requests) == requests


def test_a_file_that_arrived_damaged_is_deleted_and_fetched_anew(server, cache, folder, tmp_path):
    broken = shutil.copytree(folder, tmp_path / "broken")
    content = bytearray((broken / DESCRIPTORS).read_bytes())
    content[-1] ^= 1
    (broken / DESCRIPTORS).write_bytes(content)
    _serve(server, broken)
    with pytest.raises(DatasetError, match=r"1 files of me/tiny-city did not arrive .* deleted from the cache"):
        pull_pack(REPO)
    assert not (cache / "datasets--me--tiny-city" / "snapshots" / COMMIT / DESCRIPTORS).exists()
    _serve(server, folder)
    assert pull_pack(REPO).descriptors(model()) is not None


def test_an_interrupted_pull_goes_on(server, cache, folder, monkeypatch):
    _serve(server, folder)
    size = (folder / DESCRIPTORS).stat().st_size
    path = f"/datasets/{REPO}/resolve/{COMMIT}/{DESCRIPTORS}"
    server.files[path].cuts = [size // 2] * 20
    with pytest.raises(DatasetError, match="was not pulled"):
        pull_pack(REPO)
    with pytest.raises(DatasetError, match=r"only partly downloaded. Go on with: scicevpr pack pull"):
        open_pack(REPO)
    server.files[path].cuts = []
    assert pull_pack(REPO).descriptors(model()) is not None


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (404, "RepoNotFound", "There is no repository datasets/me/tiny-city at http"),
        (401, "RepoNotFound", "or it is private"),
        (403, "GatedRepo", "is gated: accept its terms on http.*/datasets/me/tiny-city"),
        (404, "RevisionNotFound", "has no revision 'v2'"),
        (404, "EntryNotFound", r"is not a database pack: it has no pack\.json"),
        (503, "", "answers 503"),
    ],
)
def test_each_refusal_of_the_hub_has_its_message(server, cache, status, code, words):
    server.add_hub_error(f"/datasets/{REPO}/resolve/v2/pack.json", status, code)
    with pytest.raises(DatasetError, match=words):
        pull_pack(f"{REPO}@v2")
    assert not list(cache.glob("datasets--*/snapshots/*/*"))


def test_offline_says_what_to_do(cache, monkeypatch, folder):
    with stand_in() as gone:
        address = gone.url
    with pytest.raises(DatasetError, match=r"cannot be reached .*--local-files-only.*datasets/me/tiny-city on another"):
        pull_pack(REPO, endpoint=address)
    for setting in ({"local_files_only": True}, {}):
        if not setting:
            monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(
            DatasetError, match=r"no pack of that name was pulled.*Where there is a connection: scicevpr"
        ):
            pull_pack(REPO, endpoint=address, **setting)
    with pytest.raises(DatasetError, match="no pack of that name was pulled"):
        open_pack("nobody/nothing")
    with pytest.raises(DatasetError, match="'nothing' does not name a Hub repository"):
        pull_pack("nothing")


class RecordingHub:
    """HfApi as far as pushing needs it: notes what it is asked for, and may refuse."""

    def __init__(self, refuse=None):
        self.calls, self.refuse = [], refuse

    def __call__(self, **options):
        self.calls.append(("HfApi", options))
        return self

    def create_repo(self, name, **options):
        if self.refuse:
            raise self.refuse
        self.calls.append(("create_repo", {"name": name, **options}))

    def upload_folder(self, **options):
        self.calls.append(("upload_folder", options))
        return SimpleNamespace(commit_url="https://hub/commit/1")


@pytest.fixture
def hub(monkeypatch):
    recording = RecordingHub()
    monkeypatch.setattr(huggingface_hub, "HfApi", recording)
    return recording


def test_push_makes_a_data_set_repository_and_uploads_the_folder(hub, folder):
    assert push_pack(folder, REPO, private=True, endpoint="http://hub") == "https://hub/commit/1"
    calls = dict(hub.calls)
    assert calls["HfApi"]["endpoint"] == "http://hub"
    assert calls["create_repo"] == {"name": REPO, "repo_type": "dataset", "private": True, "exist_ok": True}
    upload = calls["upload_folder"]
    assert (upload["repo_id"], upload["repo_type"], upload["folder_path"]) == (REPO, "dataset", folder)
    assert "descriptors/*.safetensors" in upload["delete_patterns"], "files of an earlier pack go"


def test_a_damaged_pack_is_not_pushed(hub, folder, tmp_path):
    broken = shutil.copytree(folder, tmp_path / "broken")
    (broken / "secret.txt").write_text("mine")
    with pytest.raises(DatasetError, match=r"has 1 problems and was not uploaded; the first: .*secret\.txt"):
        push_pack(broken, REPO)
    assert hub.calls == []


@pytest.mark.parametrize(("status", "words"), [(401, "does not know you"), (403, "does not let you write")])
def test_a_refused_push_says_how_to_log_in(hub, folder, status, words):
    response = SimpleNamespace(status_code=status, headers={}, request=None)
    hub.refuse = HfHubHTTPError("no", response=response)
    with pytest.raises(DatasetError, match=f"{words}.*hf auth login"):
        push_pack(folder, REPO)


def test_photos_are_pushed_only_by_right(hub, tiny_city, tmp_path, monkeypatch):
    pack = small_pack(tmp_path / "pack", tiny_city, thumbnails=16)
    with pytest.raises(UsageError, match=r"nothing is known about the right .*--i-may-share-these-photos"):
        push_pack(pack.folder, REPO)
    assert hub.calls == []
    push_pack(pack.folder, REPO, photos_may_be_shared=True)
    assert hub.calls

    manifest = read_manifest(pack.folder)
    for key, allowed in (("free", True), ("gated", False)):
        monkeypatch.setitem(catalogue.BENCHMARKS, key, SimpleNamespace(redistributable=allowed))
        manifest.dataset["benchmark"] = key
        if allowed:
            check_photos_may_be_shared(manifest, False)
        else:
            with pytest.raises(UsageError, match=r"photos of gated may not be passed on.*--no-photos"):
                check_photos_may_be_shared(manifest, True)


def test_packs_on_this_computer_are_listed(tiny_city, folder, tmp_path, monkeypatch, cache):
    monkeypatch.setenv("SCICEVPR_PACKS", str(tmp_path / "packs"))
    assert list_packs() == []
    shutil.copytree(folder, tmp_path / "packs" / "city")
    (tmp_path / "packs" / "broken").mkdir()
    (tmp_path / "packs" / "broken" / "pack.json").write_text("{")
    [found] = list_packs()
    assert (found.source, found.manifest.title) == ("folder", "Tiny city")
    assert open_pack(found.reference).title == "Tiny city"
    assert found.bytes > 12 * 32 * 2
