"""Bounds on the forms that a caller sends: each is hostile input."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StructureLimits:
    """Bounds of one form, and of the compiler.

    A form has at most `max_bytes` UTF-8 bytes, a regular expression `max_regex_bytes`. `max_depth` bounds brackets
    within brackets, `max_nodes` the subschemas that one place of a schema stands for, its references followed.
    `max_enum` bounds the values of an enumeration or choice, `max_repetition` each number of repetitions, of
    characters, items or properties.

    The rest bounds the automaton (llguidance's `LLParserLimits`): a mask must come within a few milliseconds, since a
    step waits for it. Its time grows with the square of a grammar's symbols where rules may be empty: so a `grammar`
    may have `max_grammar_symbols`, other forms `max_symbols`, and the first mask takes at most `max_first_mask_s`
    seconds of a processor's time. The compiler keeps `max_entries` compiled forms of
    together `max_kept_bytes` bytes of source; at most `max_waiting` wait, and none longer than `max_compile_s` seconds.
    """

    max_bytes: int = 65_536
    max_regex_bytes: int = 4_096
    max_depth: int = 32
    max_nodes: int = 5_000
    max_enum: int = 1_000
    max_repetition: int = 10_000

    max_lexer_states: int = 20_000
    max_symbols: int = 5_000
    max_grammar_symbols: int = 1_000
    max_items_in_row: int = 2_000
    initial_lexer_fuel: int = 1_000_000
    step_lexer_fuel: int = 100_000
    step_max_items: int = 50_000

    max_entries: int = 128
    max_kept_bytes: int = 2_097_152
    max_waiting: int = 64
    max_compile_s: float = 5.0
    max_first_mask_s: float = 0.1
