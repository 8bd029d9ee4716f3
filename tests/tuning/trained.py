"""The architectures and methods that PEFT trains."""

from __future__ import annotations

from server.tuning.plan import Method
from tests.parity.architectures import CONFIGS, EXPERTS, REFUSED_BY_PEFT

_KINDS = {Method.PROMPT_TUNING: "prompt", Method.P_TUNING: "p", Method.PREFIX_TUNING: "prefix"}
"""Without CARTRIDGE, which is prefix tuning but for its first row: one architecture is enough."""

TRAINED = [
    (architecture, method)
    for architecture in [*CONFIGS, *EXPERTS]
    for method in _KINDS
    if _KINDS[method] not in REFUSED_BY_PEFT.get(architecture, {})
]
TRAINED.append(("llama", Method.CARTRIDGE))
