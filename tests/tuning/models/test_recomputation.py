"""Which layers a piece recomputes: those that memory has no room for, without another bit in the result."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from server.jobs.assembly import RunBounds, _build_run
from server.model.base_model import BaseModelOptions, load_base_model
from server.tuning import piece_room
from server.tuning.cost import bytes_of_copies, costs_of
from server.tuning.encoding import EncodedExample
from server.tuning.models.decoder import DecoderModel
from server.tuning.models.flat_batches import micro_batches
from server.tuning.piece_room import PieceRoom
from server.tuning.plan import Initialisation, Method, TuningPlan
from tests.fakes.tokenizers import byte_level
from tests.parity.architectures import CONFIGS, EXPERTS, build
from tests.tuning.tiny import loaded_from, tiny_base, tiny_job, tiny_model
from tests.tuning.trained import TRAINED

CPU = torch.device("cpu")
NUM_VIRTUAL = 5
EXAMPLES = [EncodedExample(tuple(range(5, 45)), (8, 9, 0)), EncodedExample(tuple(range(5, 40)), (8, 9, 0))]


def model_of(loaded, method=Method.PROMPT_TUNING, memory_bytes=None) -> DecoderModel:
    plan = TuningPlan(method=method, initialisation=Initialisation.RANDOM, num_virtual_tokens=NUM_VIRTUAL)
    return DecoderModel(loaded, byte_level(), plan, (), memory_bytes)


def batch_of(examples=EXAMPLES):
    (batch,) = micro_batches(examples, num_virtual_tokens=NUM_VIRTUAL, max_tokens=512, device=CPU)
    return batch


def gradients(model, num_recomputed, monkeypatch) -> list[torch.Tensor]:
    """Gradients with so many layers recomputed."""
    monkeypatch.setattr(model._pass.recomputation, "choose", lambda *sizes: None)
    model._pass.recomputation.num_recomputed = num_recomputed
    for parameter in model.prompt.parameters:
        parameter.grad = None
    model.backward(batch_of(), 1.0)
    return [parameter.grad.clone() for parameter in model.prompt.parameters]


@pytest.mark.parametrize(("architecture", "method"), TRAINED)
def test_recomputation_changes_no_bit(architecture, method, monkeypatch):
    """Of no layer, of one, and of all."""
    model = model_of(loaded_from(build(architecture)), method)
    kept, one, all_of_them = (gradients(model, number, monkeypatch) for number in (0, 1, 2))
    assert all(map(torch.equal, kept, one)) and all(map(torch.equal, kept, all_of_them))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_recomputation_changes_no_bit_of_packed_layers(dtype, tmp_path, monkeypatch):
    """As a server loads a model, in both dtypes that a CPU packs."""
    build("llama-wide").save_pretrained(tmp_path)
    model = model_of(load_base_model(BaseModelOptions(str(tmp_path), device="cpu", dtype=dtype)))
    kept, all_of_them = (gradients(model, number, monkeypatch) for number in (0, 2))
    assert all(map(torch.equal, kept, all_of_them))


def test_layers_are_recomputed_as_far_as_memory_asks(monkeypatch):
    """The room is measured at each piece, so a machine that fills up meanwhile is not asked for more."""
    loaded = tiny_model()
    model, batch, costs = model_of(loaded), batch_of(), costs_of(loaded)
    num_positions, width = NUM_VIRTUAL + sum(batch.lengths), NUM_VIRTUAL + max(batch.lengths)
    layer, piece = costs.layer_bytes(num_positions, width), costs.piece_bytes(num_positions, width)
    for room, num_recomputed in ((piece + 2 * layer, 0), (piece + 2 * layer - 1, 1), (piece + layer, 1), (0, 2)):
        monkeypatch.setattr(model._pass.recomputation, "_room", lambda room=room: room)
        model.backward(batch, 1.0)
        assert model._pass.recomputation.num_recomputed == num_recomputed


def test_a_pass_without_gradients_measures_nothing(monkeypatch):
    """It keeps nothing."""
    model = model_of(tiny_model())
    monkeypatch.setattr(model._pass.recomputation, "_room", lambda: pytest.fail("measured"))
    model.judge(batch_of())


def test_a_piece_gets_a_quarter_of_what_is_left(monkeypatch):
    """But at most what the run may take, less its parameters with their copies."""
    monkeypatch.setattr(piece_room, "unused_bytes", lambda device: 4_000_000)
    assert PieceRoom.of_run(CPU, None, 100).measure() == 1_000_000
    assert PieceRoom.of_run(CPU, 900_000, 100).measure() == 900_000 - bytes_of_copies(100)
    assert PieceRoom.of_run(CPU, 2_000_000, 100).measure() == 1_000_000
    assert PieceRoom.of_run(CPU, 10, 100).measure() == 0


def test_a_jobs_memory_reaches_its_pieces():
    """`--tuning-memory-gib` decides in a server."""
    for memory_bytes, num_recomputed in ((None, 0), (1, 2)):
        tuned = SimpleNamespace(loaded=tiny_model(), tokenizer=byte_level(), base=tiny_base())
        run = _build_run(tuned, RunBounds(60.0, memory_bytes), tiny_job(TuningPlan()), None)
        while run.step < 1:
            run.advance()
        assert run._trainer._model._pass.recomputation.num_recomputed == num_recomputed


@pytest.mark.parametrize("architecture", [*CONFIGS, *EXPERTS])
def test_the_estimate_is_near_what_layers_keep(architecture):
    """What autograd saves, beside the weights: two fifths to six fifths of the estimate."""
    loaded = loaded_from(build(architecture))
    model, batch = model_of(loaded), batch_of()
    weights = {parameter.untyped_storage().data_ptr() for parameter in loaded.model.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in weights:
            kept[address] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model._pass.hidden(batch)
    num_bytes = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    costs = costs_of(loaded)
    estimate = costs.num_layers * costs.layer_bytes(NUM_VIRTUAL + sum(batch.lengths), NUM_VIRTUAL + max(batch.lengths))
    assert 0.4 * estimate < num_bytes < 1.2 * estimate
