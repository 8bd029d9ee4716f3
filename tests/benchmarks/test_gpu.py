"""The benchmark for GPUs, wholly, on a CPU: a tiny shape, contenders in this process."""

import pytest
import torch

from benchmarks import models, session, worker
from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.bandwidth import decode_bytes, measure_bandwidth
from benchmarks.models import SHAPES, prepare
from benchmarks.process import ContenderUnavailable
from benchmarks.records import read


class InProcess:
    """A contender without a process of its own: what is tested is all else."""

    def __init__(self, setup):
        self._contender = worker._build(setup)

    def run(self, workload):
        return self._contender.run(workload)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._contender.close()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where models and records go."""
    monkeypatch.setattr(models, "CACHE", tmp_path)
    monkeypatch.setattr(gpu, "CACHE", tmp_path)
    return tmp_path


@pytest.mark.slow  # it starts the engine three times, PEFT and transformers' batching once each
@pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning",
    "ignore:Position ids are not supported for parameter efficient tuning:UserWarning",
)
def test_the_whole_script_runs_without_a_gpu(folder, monkeypatch, capsys):
    """Every section measures something, and the table has a figure for each aim."""
    monkeypatch.setattr(session, "ContenderProcess", InProcess)
    gpu.main(["--shape", "tiny", "--device", "cpu", "--batches", "1,4", "--quick", "--threads", "1"])
    table = capsys.readouterr().out
    assert "not measured" not in table
    rows = {line.split(" | ")[0].strip("| "): line for line in table.splitlines()}
    assert " | 0.8 | " in rows["decode at batch 1, share of the memory's limit"]
    assert "reported" in rows["decode at batch 4, share of the memory's limit"]
    assert " | 0.98 | " in rows["64 tasks mixed over one task"]
    assert " | 2 | " in rows["engine over (c) transformers' batching"]
    assert "reported" in rows["engine over (a) PEFT, one by one"]
    measured = {(record.measure, record.subject) for record in read(folder / "gpu_results.jsonl")}
    assert {("prefill tokens/s", "engine"), ("memory bandwidth GB/s", "copy")} <= measured


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(capsys):
    """And ends as if all were well: nothing is wrong."""
    gpu.main([])
    assert "no CUDA device" in capsys.readouterr().err


def test_a_contender_that_is_not_there_leaves_the_others_out_of_it(folder, monkeypatch, capsys):
    """One section says why it has no figure; the table is printed all the same."""

    def refuse(setup):
        raise ContenderUnavailable("not installed")

    monkeypatch.setattr(session, "ContenderProcess", refuse)
    gpu.main(["--shape", "tiny", "--device", "cpu", "--batches", "1", "--quick"])
    printed = capsys.readouterr()
    assert "left out: not installed" in printed.err
    assert "memory bandwidth GB/s" in printed.out
    assert "not measured" in printed.out


@pytest.mark.parametrize(("name", "billions"), [("llama-135m", 0.1345), ("llama-1.5b", 1.54), ("llama-7b", 6.6)])
def test_a_step_reads_every_weight_but_a_table_that_is_looked_up(name, billions):
    assert SHAPES[name].num_step_weights / 1e9 == pytest.approx(billions, rel=0.01)


def test_shapes_are_what_they_say(folder):
    """A built model has the weights that its shape counts; norms aside."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(prepare("llama-tiny").folder)
    counted = sum(parameter.numel() for parameter in model.parameters() if parameter.dim() == 2)
    assert counted == SHAPES["llama-tiny"].num_step_weights


def test_a_decode_step_reads_weights_once_and_each_sequences_context():
    """Keys and values of the 7 B shape take half a MiB a position."""
    shape = SHAPES["llama-7b"]
    alone, many = decode_bytes(shape, 1, 100), decode_bytes(shape, 64, 100)
    assert many - alone == 63 * 100 * 2**19
    assert alone - 100 * 2**19 == 2 * shape.num_step_weights


def test_bandwidth_is_positive():
    """Reading and copying are both told, in bytes a second."""
    found = measure_bandwidth(torch.device("cpu"), 1 << 20)
    assert set(found) == {"read", "copy"}
    assert all(value > 1e6 for value in found.values())
