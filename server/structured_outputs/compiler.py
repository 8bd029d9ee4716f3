"""Compiles forms off the event loop, each once at a time, and keeps those used last."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import numpy as np
from llguidance import LLMatcher
from llguidance._lib import LLParserLimits

from server.structured_outputs.compiled import CompiledConstraint, clear_bits
from server.structured_outputs.constraint import Constraint, Form
from server.structured_outputs.errors import CompilerBusy, ConstraintRefused, VocabularyUnsupported
from server.structured_outputs.grammar import grammar_of
from server.structured_outputs.kept import KeptForms
from server.structured_outputs.limits import StructureLimits
from server.structured_outputs.vocabulary import Vocabulary

_STACK_BYTES = 256 << 20
"""The stack of the compiling thread: llguidance descends into a form by recursion. Only what is used takes memory."""

_ADVICE = (
    ("fuel", "is too complex"),
    ("too many", "is too complex"),
    ("too large", "is too complex"),
    ("too big", "is too complex"),
    ("too deeply", "is nested too deeply"),
    ("Unsatisfiable", "cannot be met by any answer"),
    ("NoExtensionBias", "begins with what no token of the base model can write"),
    ("oneOf", "has oneOf with branches that overlap: use anyOf"),
    ("look", "uses look-around or word boundaries, which are not supported"),
    ("backreferences", "uses back-references, which are not supported"),
)


class ConstraintCompiler:
    """Compiled forms by digest. Belongs to the event loop.

    `load_vocabulary` describes the base model's tokens; it is called with the first form, on the compiling thread, and
    may raise `VocabularyUnsupported`.
    """

    def __init__(self, load_vocabulary: Callable[[], Vocabulary], limits: StructureLimits = StructureLimits()) -> None:  # noqa: B008
        self.limits = limits
        self._load_vocabulary = load_vocabulary
        self._kept = KeptForms(limits)
        self._open: dict[bytes, asyncio.Task[CompiledConstraint]] = {}

    async def compile(self, constraint: Constraint, *, is_continued: bool) -> CompiledConstraint:
        """The compiled form of an answer that continues its prompt's text, or is a text of its own.

        Raises `ConstraintRefused`, and `CompilerBusy` where too many wait.
        """
        digest = constraint.digest(b"continued" if is_continued else b"own")
        if (kept := self._kept.get(digest)) is not None:
            return kept
        if (task := self._open.get(digest)) is None:
            if len(self._open) >= self.limits.max_waiting:
                raise CompilerBusy("too many forms wait to be compiled; try again later")
            task = asyncio.create_task(self._compile(digest, constraint, is_continued))
            task.add_done_callback(_noticed)
            self._open[digest] = task
        try:
            return await asyncio.wait_for(asyncio.shield(task), self.limits.max_compile_s)
        except TimeoutError as error:
            message = f"the form took longer than {self.limits.max_compile_s:g} s to compile"
            raise ConstraintRefused(message, param=constraint.param) from error
        except ConstraintRefused as error:  # another request's field may have had the same form
            raise ConstraintRefused(str(error), param=constraint.param) from error

    async def _compile(self, digest: bytes, constraint: Constraint, is_continued: bool) -> CompiledConstraint:
        loop = asyncio.get_running_loop()
        try:
            compiled = await loop.run_in_executor(self._thread, self._compile_now, constraint, is_continued)
            self._kept.keep(digest, compiled)
            return compiled
        finally:
            del self._open[digest]

    # --- the compiling thread -----------------------------------------------------------------------------------------

    def _compile_now(self, constraint: Constraint, is_continued: bool) -> CompiledConstraint:
        try:
            vocabulary = self._vocabulary
        except VocabularyUnsupported as error:
            raise ConstraintRefused(str(error), param=constraint.param) from error
        after_space = vocabulary.drops_space and not is_continued
        return compile_constraint(constraint, vocabulary, self.limits, after_space=after_space)

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return self._load_vocabulary()

    @cached_property
    def _thread(self) -> ThreadPoolExecutor:
        return compiling_thread()


def compiling_thread() -> ThreadPoolExecutor:
    """One thread with a deep stack, for `compile_constraint`."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="structured-outputs")
    usual = threading.stack_size(_STACK_BYTES)
    try:
        pool.submit(_nothing)  # starts the one thread
    finally:
        threading.stack_size(usual)
    return pool


def compile_constraint(
    constraint: Constraint, vocabulary: Vocabulary, limits: StructureLimits, *, after_space: bool = False
) -> CompiledConstraint:
    """Compile a form; to be called on a thread with a deep stack. Raises `ConstraintRefused`."""
    grammar = grammar_of(constraint, limits, after_space=after_space)
    parser_limits = _parser_limits(limits, constraint.form)
    matcher = LLMatcher(vocabulary.tokenizer, grammar, log_level=0, limits=parser_limits)
    mask = np.zeros(vocabulary.num_words, np.int32)
    began = time.thread_time()
    if not matcher.is_error():
        matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        if after_space:
            clear_bits(mask, vocabulary.spaces_kept)
    if matcher.is_error():
        found = matcher.get_error()
        what = next((advice for sign, advice in _ADVICE if sign in found), "is not valid")
        raise ConstraintRefused(f"the {constraint.form} form {what}", param=constraint.param)
    if time.thread_time() - began > limits.max_first_mask_s:
        raise ConstraintRefused(f"the {constraint.form} form is too complex", param=constraint.param)
    return CompiledConstraint(constraint, vocabulary, matcher, mask, after_space=after_space)


def _parser_limits(limits: StructureLimits, form: Form) -> LLParserLimits:
    return LLParserLimits(
        max_items_in_row=limits.max_items_in_row,
        initial_lexer_fuel=limits.initial_lexer_fuel,
        step_lexer_fuel=limits.step_lexer_fuel,
        step_max_items=limits.step_max_items,
        max_lexer_states=limits.max_lexer_states,
        max_grammar_size=limits.max_grammar_symbols if form is Form.GRAMMAR else limits.max_symbols,
        verbose_errors=False,
    )


def _noticed(task: asyncio.Task[CompiledConstraint]) -> None:
    """Read the failure of a task that nobody may await any more."""
    if not task.cancelled():
        task.exception()


def _nothing() -> None:
    """Work for a thread that shall only start."""
