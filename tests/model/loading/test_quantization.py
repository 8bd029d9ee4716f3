"""A quantised base model is refused by the name of its method, before its weights are read."""

from __future__ import annotations

import json
import shutil

import pytest

from server.demo import BASE_DIR
from server.model.base_model import BaseModelOptions, load_base_model, load_skeleton
from server.model.errors import BaseModelUnavailable

REFUSED = {
    "GPTQ": {"quant_method": "gptq", "bits": 4},
    "AWQ": {"quant_method": "awq", "bits": 4},
    "bitsandbytes": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    "bitsandbytes, ": {"load_in_8bit": True},
    "compressed-tensors": {"quant_method": "compressed-tensors", "format": "pack-quantized"},
    "FBGEMM FP8": {"quant_method": "fbgemm_fp8"},
    "HQQ": {"quant_method": "hqq"},
    "torchao": {"quant_method": "torchao", "quant_type": {}},
    "ModelOpt": {"quant_method": "modelopt", "quant_algo": "NVFP4"},
    "quant_method": {"quant_method": "none of these"},
    "no JSON object": "4 bits",
}


@pytest.fixture
def base(tmp_path):
    """The demo's configuration without weights: nothing can read them."""
    shutil.copy(BASE_DIR / "config.json", tmp_path)
    return tmp_path


def quantise(base, change):
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | change))


@pytest.mark.parametrize("named", REFUSED)
@pytest.mark.parametrize("load", [load_skeleton, load_base_model])
def test_a_method_that_is_not_computed_is_refused_by_name(base, named, load):
    """With what to do instead, and nothing of what transformers says about packages."""
    quantise(base, {"quantization_config": REFUSED[named]})
    with pytest.raises(BaseModelUnavailable, match=named) as refusal:
        load(BaseModelOptions(str(base), device="cpu"))
    assert "install" not in str(refusal.value)
    assert isinstance(REFUSED[named], str) or "unquantised copy" in str(refusal.value)


def test_the_text_part_of_a_model_of_several_parts_is_looked_at(base):
    """Its own configuration says how it is quantised."""
    quantise(base, {"text_config": {"quantization_config": REFUSED["GPTQ"]}})
    with pytest.raises(BaseModelUnavailable, match="GPTQ"):
        load_skeleton(BaseModelOptions(str(base), device="cpu"))


@pytest.mark.parametrize("quantization", [None, {}, {"quant_method": "fp8"}, {"quant_method": "mxfp4"}])
def test_what_is_dequantised_has_the_architecture_of_plain_weights(base, quantization):
    """A command that reads no weights takes it too."""
    expected = load_skeleton(BaseModelOptions(str(base), device="cpu"))
    quantise(base, {"quantization_config": quantization})
    assert load_skeleton(BaseModelOptions(str(base), device="cpu")) == expected
