"""Texts of a job's log: events of its run, notes on its files, and its judgement."""

from __future__ import annotations

from collections.abc import Sequence

from prompts_store.tuning_records import NewEvent
from server.tuning.encoding import PreviewToken
from server.tuning.events import (
    Extended,
    Finished,
    RateChosen,
    RateTried,
    StepDone,
    TuningEvent,
    Validated,
    Warned,
    event_to_json,
)
from server.tuning.judgement import Judgement, metrics_of
from server.tuning.notes import Note
from server.tuning.scores import Unscored


def run_event(event: TuningEvent) -> NewEvent:
    """An event of a run: a sentence for a person, and the numbers."""
    match event:
        case StepDone():
            text = f"Step {event.step}/{event.num_steps}: loss {event.loss:.4f}"
        case Validated():
            text = f"Validation after step {event.step}: loss {event.loss:.4f}, exact match {event.exact_match:.3f}"
        case Warned():
            return NewEvent(event.message, level="warn", data=event_to_json(event))
        case RateTried():
            found = "it diverges" if event.loss is None else f"loss {event.loss:.4f}"
            text = f"Learning rate {event.learning_rate:.3g} tried: {found}"
        case RateChosen():
            text = f"Learning rate {event.learning_rate:.3g}"
        case Extended():
            text = f"Still improving after step {event.step}: goes on to step {event.num_steps}"
        case Finished():
            text = f"The run ended after step {event.step} ({event.reason}); step {event.best_step} was the best"
    return NewEvent(f"{text}.", kind="metrics", data=event_to_json(event))


def note_event(note: Note) -> NewEvent:
    """A note on the examples, as a sentence."""
    data = {"held_out_lines": list(note.held_out_lines)} if note.held_out_lines else {}
    return NewEvent(f"{note.text[0].upper()}{note.text[1:]}.", level=note.level.value, data=data)


def preview_event(number: int, num_answers: int, tokens: Sequence[PreviewToken]) -> NewEvent:
    """The first line's answer of this number, from 1, token by token."""
    of = "" if num_answers == 1 else f", its answer {number} of {num_answers}"
    shown = [{"id": token.token_id, "text": token.text, "learnt": token.is_learnt} for token in tokens]
    return NewEvent(f"The first example{of}, as the model sees it behind the virtual tokens.", data={"tokens": shown})


def judgement_events(judged: Judgement) -> list[NewEvent]:
    """The scores of a result, or the reason why there are none, and the gate's verdict."""
    if isinstance(judged.scores, Unscored):
        why = f"There are no scores: {judged.scores.reason}. The version is published, and not promoted."
        events = [NewEvent(why, level="warn", data=metrics_of(judged.scores))]
    else:
        events = [NewEvent("The held-out examples were answered.", kind="metrics", data=metrics_of(judged.scores))]
    if isinstance(judged.production, Unscored):
        events.append(NewEvent(f"{judged.production.name} has no scores: {judged.production.reason}.", level="warn"))
    if (verdict := judged.verdict) is not None:
        opened = "opened" if verdict.passed else "stayed shut"
        data = {"gate_passed": verdict.passed, "gate_reason": verdict.reason}
        level = "info" if verdict.passed else "warn"
        events.append(NewEvent(f"The gate {opened}: {verdict.reason}.", level=level, data=data))
    return events
