"""Regression tests for the advisories of other servers: the marker `advisory` names the product and its numbers.

The tests of each route's scope are in test_every_route.py.
"""

import ast
import inspect
import io
import json
import pickle
import re
import socket
import tarfile
import textwrap
import threading
import zipfile
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from safetensors.numpy import save

import prompts_store
import server
from prompts_store.errors import InvalidKey
from prompts_store.keys import KeyGrant, check_digest
from server.api.access.key_ring import KeyRing
from server.api.errors import Unauthorized
from server.app import create_app
from server.cli.serving.http_server import HttpServer, http_config
from server.cli.serving.serve import bind
from server.settings import ServeSettings
from tests.api.conftest import client_of, error_of, publish
from tests.fakes.checkpoints import prompt_tuning_files
from tests.fakes.services import with_parts
from tests.fakes.tokenizers import byte_level

COMPLETION = {"model": "tiny-base", "prompt": "a"}
REPOSITORY = Path(__file__).parents[2]
PACKAGES = [Path(package.__file__).parent for package in (server, prompts_store)]


def sources():
    """Every module of the product, parsed."""
    paths = [path for folder in PACKAGES for path in sorted(folder.rglob("*.py"))]
    assert len(paths) > 100, "these tests would pass on an empty tree"
    return [(path, ast.parse(path.read_text(encoding="utf-8"))) for path in paths]


class Bomb:
    """Whoever unpickles it has been taken over."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was opened",)


# What reads a pickle or an archive, as weights only: a process of `softprompt task convert` on the publisher's machine,
# and two files that read the base model that the operator names.
OF_OPERATORS = frozenset({"pickle_worker.py", "pickles.py", "held.py"})


@pytest.mark.advisory("vllm", "CVE-2025-62164", "CVE-2026-56340", "CVE-2026-73557")
@pytest.mark.parametrize(
    "tensors",
    [
        pickle.dumps(Bomb()),
        save({"prompt_embeddings": np.zeros((4, 8), np.int64)}),
        save({"prompt_embeddings.indices": np.zeros((2, 4), np.int64), "prompt_embeddings.values": np.zeros(4)}),
    ],
    ids=["pickle", "int64", "sparse"],
)
async def test_only_dense_tensors_of_listed_dtypes_are_accepted(client, tensors):
    """Tensors of clients are dense safetensors of the few dtypes that are listed, or nothing."""
    response = await publish(client, adapter_model=tensors)
    assert (response.status_code, error_of(response)["code"]) == (400, "malformed_tensors")


@pytest.mark.advisory("vllm", "PYSEC-2026-2303", "CVE-2026-41523")
@pytest.mark.parametrize("shape", [(4, 7), (5, 8), (32,), (1, 4, 8), (0, 8)], ids=str)
async def test_a_wrong_shape_is_the_clients_error(client, shape):
    """A wrong shape is the client's error, and the server goes on; no assertion stands guard."""
    response = await publish(client, adapter_model=save({"prompt_embeddings": np.zeros(shape, np.float32)}))
    assert response.status_code == 400
    assert error_of(response)["type"] == "invalid_request_error"
    assert (await client.get("/health")).status_code == 200


@pytest.mark.advisory("vllm", "CVE-2026-34756", "CVE-2026-73559")
@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("/v1/completions", {"n": 2**31 - 1}),
        ("/v1/completions", {"logprobs": 2**31}),
        ("/v1/completions", {"prompt": ["a"] * 10_000}),
        ("/v1/completions", {"stop": ["a"] * 10_000}),
        ("/v1/completions", {"stop_token_ids": [1] * 10_000}),
        ("/v1/completions", {"logit_bias": {str(token): 1.0 for token in range(5_000)}}),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}] * 10_000}),
        ("/v1/classify", {"input": ["a"] * 10_000, "labels": ["a", "b"]}),
        ("/v1/classify", {"input": "a", "labels": [str(label) for label in range(10_000)]}),
    ],
    ids=lambda value: value if isinstance(value, str) else next(iter(value)),
)
async def test_numbers_and_lists_of_clients_are_bounded(client, engine, path, change):
    """Every number and every list that a client may make large has a bound, and the engine never hears of it."""
    base = COMPLETION if path == "/v1/completions" else {"model": "tiny-base"}
    response = await client.post(path, json=base | change)
    assert response.status_code == 400
    assert not engine.requests


@pytest.mark.advisory("vllm", "CVE-2025-62426", "CVE-2026-115911")
@pytest.mark.parametrize("name", ["chat_template", "chat_template_kwargs", "add_generation_prompt"])
async def test_a_template_of_a_client_is_not_rendered(client, engine, name):
    """A client's template is not rendered: there is no parameter for one, and in a message it is plain text."""
    chat = {"model": "tiny-base", "messages": [{"role": "user", "content": "{{ 7 * 7 }}"}]}
    response = await client.post("/v1/chat/completions", json=chat | {name: "{{ 7 * 7 }}"})
    assert response.status_code == 400
    assert (await client.post("/v1/chat/completions", json=chat)).status_code == 200
    prompt = byte_level().decode(list(engine.requests[-1].prompt_token_ids), skip_special_tokens=False)
    assert "{{ 7 * 7 }}" in prompt


@pytest.mark.advisory("vllm", "CVE-2025-59425")
def test_a_key_is_compared_in_constant_time():
    """A key is compared by `hmac.compare_digest`, and by no operator."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(KeyRing.identify)))
    names = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert names.count("compare_digest") == 2
    operators = {type(op) for node in ast.walk(tree) if isinstance(node, ast.Compare) for op in node.ops}
    assert operators <= {ast.Is, ast.IsNot}


@pytest.mark.advisory("vllm", "CVE-2026-48746")
@pytest.mark.advisory("starlette", "CVE-2026-48710")
@pytest.mark.advisory("litellm", "CVE-2026-49468")
@pytest.mark.parametrize(
    "path",
    ["//v1/tasks", "/health/../v1/tasks", "/v1/tasks/", "/V1/tasks", "/v1/tasks;/health", "/v1/tasks%2f",
     "/docs/../v1/tasks", "/v1/tasks?/health", "/v1/tasks#/health", "/%76%31/tasks", "/health%00/v1/tasks"],
)  # fmt: skip
async def test_no_spelling_of_a_path_avoids_the_key(services, path):
    """However a path is written, it is a route, which asks for its scope, or it is none."""
    async with client_of(with_parts(services, keys=KeyRing(services.store_access.store, "secret"))) as client:
        response = await client.get(path)
        with_host = await client.get("/v1/tasks", headers={"host": "/health", "x-forwarded-prefix": "/health"})
    assert response.status_code in (401, 404, 405)
    assert with_host.status_code == 401


@pytest.mark.advisory("litellm", "CVE-2026-42208")
def test_a_key_never_reaches_the_database(services):
    """A key becomes a digest before anything is asked by it, and the database is not asked at all."""

    class Watched:
        is_watched = False

        def __getattr__(self, name):
            assert not self.is_watched, "a key went to the database"
            return getattr(services.store_access.store, name)

    store = Watched()
    services.store_access.store.create_key(KeyGrant("ci", frozenset({"infer"})))
    ring = KeyRing(store)
    store.is_watched = True
    for secret in ("' OR 1=1 --", "x'; DROP TABLE keys; --", "%", "\x00", "\ud800"):
        with pytest.raises(Unauthorized):
            ring.identify(secret)


@pytest.mark.advisory("vllm", "CVE-2026-22778", "CVE-2026-54236")
async def test_the_text_of_an_exception_is_not_sent(client, engine):
    """What an exception says stays in the log."""
    engine.fail_after = 0
    engine.cause = RuntimeError("<_io.BytesIO object at 0x7f0000000000> of a secret")
    for stream in (False, True):
        response = await client.post("/v1/completions", json=COMPLETION | {"stream": stream})
        assert "secret" not in response.text and "0x7f" not in response.text
        assert "the engine failed" in response.text


@pytest.mark.advisory("vllm", "CVE-2025-46570")
async def test_keys_share_cached_blocks_only_by_a_common_salt(services, engine):
    """The chain of cached blocks starts from the key's salt; only a salt that two keys were given joins them."""
    grants = {
        "one": KeyGrant("one", frozenset({"infer"})),
        "other": KeyGrant("other", frozenset({"infer"})),
        "team-a": KeyGrant("team-a", frozenset({"infer"}), salt="team"),
        "team-b": KeyGrant("team-b", frozenset({"infer"}), salt="team"),
        "team": KeyGrant("team", frozenset({"infer"})),
    }
    secrets = {name: services.store_access.store.create_key(grant).secret for name, grant in grants.items()}
    salts = {}
    async with client_of(with_parts(services, keys=KeyRing(services.store_access.store))) as client:
        for name, secret in secrets.items():
            for path, body in (
                ("/v1/completions", COMPLETION),
                ("/v1/classify", {"model": "tiny-base", "input": "a", "labels": ["a", "b"]}),
            ):
                headers = {"authorization": f"Bearer {secret}"}
                assert (await client.post(path, json=body, headers=headers)).status_code == 200
                salts.setdefault(name, set()).add(engine.requests[-1].salt)
    assert all(len(found) == 1 for found in salts.values())
    assert salts["team-a"] == salts["team-b"]
    assert len({min(found) for found in salts.values()}) == 4


@pytest.mark.advisory("vllm", "CVE-2025-48956")
def test_a_header_ends_at_its_limit(services):
    """A header of any size ends at the limit, with an answer, before it is kept."""
    ready = threading.Event()
    with bind("127.0.0.1", 0) as listener:
        server = HttpServer(http_config(create_app(services), ServeSettings(max_header_bytes=8192)), on_ready=ready.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        assert ready.wait(10)
        try:
            with socket.create_connection(listener.getsockname(), timeout=60) as client:
                client.sendall(b"GET /health HTTP/1.1\r\nhost: test\r\nx: " + b"a" * 200_000)
                assert client.recv(4096).startswith(b"HTTP/1.1 400 ")
        except ConnectionError:
            pass  # the server has closed before all was sent, which is as good an answer
        finally:
            server.should_exit = True
            thread.join()


@pytest.mark.advisory("vllm", "PYSEC-2026-4325")
async def test_invented_names_are_no_labels_of_metrics(client):
    """Names that clients invent are no labels."""
    for number in range(300):
        await client.post("/v1/completions", json=COMPLETION | {"model": f"invented-{number}"})
        await client.get(f"/invented-{number}")
    text = (await client.get("/metrics")).text
    assert "invented" not in text


@pytest.mark.advisory("vllm", "CVE-2026-24779", "CVE-2026-25960")
@pytest.mark.advisory("lmdeploy", "CVE-2026-33626")
@pytest.mark.advisory("torchserve", "GHSA-8fxr")
@pytest.mark.parametrize(
    "content",
    [
        [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest/meta-data"}}],
        [{"type": "audio_url", "audio_url": {"url": "file:///etc/passwd"}}],
        [{"type": "video_url", "video_url": {"url": "http://127.0.0.1:1/"}}],
    ],
    ids=lambda content: content[0]["type"],
)
async def test_no_parameter_is_fetched(client, engine, content):
    """There is no parameter whose URL would be fetched."""
    chat = {"model": "tiny-base", "messages": [{"role": "user", "content": content}]}
    assert (await client.post("/v1/chat/completions", json=chat)).status_code == 400
    assert (await publish(client, manifest={"source": "http://127.0.0.1:1/"})).status_code == 400
    assert not engine.requests


@pytest.mark.advisory("mlflow", "CVE-2024-3848", "CVE-2026-116690")
async def test_no_name_or_source_of_a_client_is_a_path(client, tmp_path):
    """A file's name and a client's `source` are never a path: nothing is read or written by them."""
    for field in ("source", "path", "artifact_uri"):
        assert (await publish(client, manifest={field: "/etc/passwd"})).status_code == 400
    files = {name: (f"../../../{tmp_path}/{name}", data) for name, data in prompt_tuning_files().items()}
    response = await client.post("/v1/tasks/sentiment/versions", files=files, data={"manifest": "{}"})
    assert response.status_code == 201
    assert list(tmp_path.glob("adapter*")) == []


@pytest.mark.advisory("ollama", "CVE-2024-37032", "CVE-2026-103663")
@pytest.mark.parametrize("digest", ["../../etc/passwd", "sha256:" + "0" * 57, "A" * 64, "0" * 63, "0" * 64 + "\n"])
async def test_a_digest_is_hexadecimal_and_no_route_takes_one(client, digest):
    """A digest has 64 characters of hexadecimal before it is used, and no route takes one."""
    with pytest.raises(InvalidKey):
        check_digest(digest)
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert not [path for path in paths if re.search(r"digest|sha256|blob", path)]


@pytest.mark.advisory("ollama", "CVE-2024-45436")
@pytest.mark.parametrize("kind", ["zip", "tar"])
async def test_an_archive_is_not_opened(client, kind):
    """An archive is no checkpoint, wherever it is put, and is not opened."""
    buffer = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("../../escaped", "x")
    else:
        with tarfile.open(fileobj=buffer, mode="w") as archive:
            archive.addfile(tarfile.TarInfo("../../escaped"))
    for name in ("adapter_model", "adapter_config"):
        assert (await publish(client, **{name: buffer.getvalue()})).status_code == 400
    trees = [tree for path, tree in sources() if path.name not in OF_OPERATORS]
    imports = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Import)]
    assert not {alias.name for node in imports for alias in node.names} & {"zipfile", "tarfile"}


BAD_NAMES = ["..", "../x", "a/b", "a\\b", "a b", "A", ".a", "a.", "a\n", "a\x00", "\uff41", "-", "a" * 65, "a@b"]


@pytest.mark.advisory("triton", "CVE-2023-31036", "CVE-2025-23316")
@pytest.mark.parametrize("name", BAD_NAMES)
async def test_a_name_matches_one_strict_pattern(client, services, name):
    """A name is one strict pattern, for tasks, aliases and keys, or it is refused."""
    assert (await client.post("/v1/tasks", json={"name": name})).status_code == 400
    assert (await client.post("/v1/keys", json={"name": name, "scopes": ["infer"]})).status_code == 400
    await publish(client)
    moved = {"version": 1}
    path = f"/v1/tasks/sentiment/aliases/{quote(name, safe='')}"
    response = await client.put(path, json=moved, headers={"if-none-match": "*"})
    assert response.status_code in (400, 404, 405)
    aliases = services.store_access.store.list_aliases(services.store_access.fingerprint, "sentiment")
    assert [alias.alias for alias in aliases] == ["production"]


@pytest.mark.advisory("ray", "CVE-2023-48022", "CVE-2025-62593")
def test_rays_control_plane_stays_on_loopback():
    """Whoever reaches Ray's control plane runs code, so it stays on loopback with a token, and moves no task.

    A page in a browser on the machine is the other way in: tests/api/test_local_origins.py, for the server itself.
    """
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import) and any(alias.name.partition(".")[0] == "ray" for alias in node.names):
                pytest.fail(f"{path} takes all of Ray")
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "ray":
                assert (path.name, [alias.name for alias in node.names]) == ("ray_serve.py", ["serve"])
    tree = ast.parse((PACKAGES[0] / "ray_serve.py").read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _is_name(node.value, "serve")}
    assert used <= {"Application", "deployment", "ingress"}, "it describes a deployment, and starts or changes none"
    assert not {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)} & {"reconfigure"}
    serve_file = (REPOSITORY / "docker/ray/serve.yaml").read_text(encoding="utf-8")
    (start,) = [line for line in serve_file.splitlines() if "ray start" in line]
    assert "--dashboard-host 127.0.0.1" in start and "RAY_AUTH_MODE=token" in start
    assert "user_config" not in serve_file
    for path in (REPOSITORY / "docker").rglob("*"):
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            assert set(re.findall(r"dashboard-host[ =](\S+)", text)) <= {"127.0.0.1"}, path
            assert not re.search(r"\b8265\b", text), f"{path} publishes Ray's dashboard"


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


@pytest.mark.advisory("pytorch", "CVE-2025-32434", "CVE-2026-24747")
def test_nothing_reads_pickles():
    """No pickle of a client: neither the module nor what of PyTorch and NumPy reads them, but for `OF_OPERATORS`."""
    for path, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert path.name == "pickles.py" or not names & {
                    "pickle",
                    "cloudpickle",
                    "dill",
                    "joblib",
                    "marshal",
                    "shelve",
                }, path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                is_reader = node.value.id in ("torch", "np", "numpy") and node.attr == "load"
                assert not is_reader or path.name in OF_OPERATORS, f"{path}:{node.lineno}"
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert "weights_only=True" in list(map(ast.unparse, node.keywords)), f"{path}:{node.lineno}"


@pytest.mark.advisory("starlette", "CVE-2024-47874", "CVE-2025-54121", "CVE-2025-62727")
async def test_parts_their_sizes_and_ranges_are_bounded(client, limited):
    """Parts, their sizes and ranges are bounded."""
    many = [("manifest", (None, "{}"))] * 2_000
    assert (await client.post("/v1/tasks/x/versions", files=many)).status_code == 400
    await publish(client)
    url = "/v1/tasks/sentiment/versions/1/adapter_model.safetensors"
    whole = await client.get(url)
    ranged = await client.get(url, headers={"range": "bytes=" + ",".join(f"{i}-" for i in range(10_000))})
    assert (ranged.status_code, len(ranged.content)) == (200, len(whole.content))
    async with limited(max_manifest_bytes=1_000) as small:
        large = {"manifest": (None, json.dumps({"note": "a" * 2_000}))}
        assert (await small.post("/v1/tasks/x/versions", files=large)).status_code == 400
