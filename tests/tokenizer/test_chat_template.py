"""What goes into a conversation comes out of the chat template, or the conversation is refused."""

from __future__ import annotations

import pytest

from server.tokenizer.chat import render_chat
from server.tokenizer.chat_message import ChatMessage
from server.tokenizer.errors import ChatRefused
from tests.fakes.tokenizers import byte_level

KNOWN = (
    "{% for m in messages %}{% if m.role in ['system', 'user', 'assistant'] %}"
    "[{{ m.role }}] {{ m.content | trim }}\n{% endif %}{% endfor %}[assistant]"
)
GENERIC = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}[assistant]"
PARTS = (  # the form of Llama Guard 3
    "{% for m in messages %}[{{ m.role }}]{% for part in m['content'] | selectattr('type', 'equalto', 'text') %}"
    " {{ part['text'] }}{% endfor %}{{ '\n' }}{% endfor %}[assistant]"
)
MIXED = (  # Perception LM's: the system message is a text, all others are parts
    "{% if messages[0].role == 'system' %}[system] {{ messages[0].content | trim }} {% set messages = messages[1:] %}"
    "{% endif %}{% for m in messages %}[{{ m.role }}]{% for part in m.content if part.type == 'text' %}"
    " {{ part.text }}{% endfor %} {% endfor %}"
)
PARTS_OF_SYSTEM = (
    "{% for m in messages %}{% if m.role == 'system' %}{{ m.content[0].text }} {% else %}{{ m.content }}"
    "{% endif %}{% endfor %}"
)
EITHER = (
    "{% for m in messages %}[{{ m.role }}] {% if m.content is string %}{{ m.content }}{% else %}"
    "{% for part in m.content %}<{{ part.text }}>{% endfor %}{% endif %}{{ '\n' }}{% endfor %}"
)
ALTERNATING = (  # Gemma's
    "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('alternate') }}{% endif %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
)
MERGING = (  # the system message stands in the first user turn, as in Llama 2's
    "{% if messages[0].role == 'system' %}{% set said = messages[0].content + ' ' %}{% set rest = messages[1:] %}"
    "{% else %}{% set said = '' %}{% set rest = messages %}{% endif %}"
    "{% for m in rest %}{% if m.role == 'user' %}[{{ said if loop.first else '' }}{{ m.content }}]"
    "{% elif m.role == 'assistant' %}{{ m.content }}{% endif %}{% endfor %}"
)
FIRST_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% endif %}"
    "{% for m in messages %}{% if m.role != 'system' %}{{ m.content }}{% endif %}{% endfor %}"
)
SYSTEM_LAST = (  # Mistral's: only where the last message is the user's
    "{% if messages[0].role == 'system' %}{% set said = messages[0].content %}{% set rest = messages[1:] %}"
    "{% else %}{% set rest = messages %}{% endif %}{% for m in rest %}"
    "{% if loop.last and said is defined and m.role == 'user' %}{{ said }} {% endif %}{{ m.content }}{% endfor %}"
)
LAST_USER = "{{ messages[-1].content }}"
LAST_THREE = "{% for m in messages[-3:] %}{{ m.content }}{% endfor %}"
NO_PREFILL = (
    "{% for m in messages %}{% if not (loop.last and m.role == 'assistant') %}{{ m.content }}{% endif %}{% endfor %}"
)
REASONING = (  # Qwen 3's and DeepSeek R1's: what was thought before an old answer goes
    "{% for m in messages %}{% set said = m.content %}{% if m.role == 'assistant' and '</think>' in said %}"
    "{% set said = said.split('</think>')[-1] %}{% endif %}[{{ m.role }}] {{ said }}{% endfor %}"
)
COMMANDS = (  # SmolLM 3's: a command in the system message is obeyed and taken out
    "{% for m in messages %}[{{ m.role }}] {{ m.content.replace('/no_think', '') }}{% endfor %}"
)

USER, SYSTEM, DEVELOPER = (ChatMessage(role, f"{role} text") for role in ("user", "system", "developer"))
ANSWER = ChatMessage("assistant", "an answer")


def render(template, *messages):
    return render_chat(byte_level(template), messages)


def refused(template, *messages) -> ChatRefused:
    with pytest.raises(ChatRefused) as caught:
        render(template, *messages)
    return caught.value


def test_a_chat_template_renders_the_messages():
    """The tokenizer's own template writes the conversation, up to the model's turn; what a text says is not run."""
    messages = [ChatMessage("system", "be brief"), ChatMessage("user", "{{ 7*7 }}")]
    assert render(GENERIC, *messages) == "[system] be brief\n[user] {{ 7*7 }}\n[assistant]"


def test_developer_is_sent_as_system_where_only_that_is_known():
    """OpenAI's newer name of the same role; a template that writes any role gets it as it is."""
    assert render(KNOWN, DEVELOPER, USER) == "[system] developer text\n[user] user text\n[assistant]"
    assert render(GENERIC, DEVELOPER, USER) == "[developer] developer text\n[user] user text\n[assistant]"


def test_developer_is_sent_as_system_where_the_template_raises():
    template = "{% for m in messages %}{% if m.role not in ['system', 'user'] %}{{ raise_exception('no') }}{% endif %}"
    assert render(template + "{{ m.role }}: {{ m.content }} {% endfor %}", DEVELOPER) == "system: developer text "


def test_a_template_that_wants_parts_gets_parts():
    assert render(PARTS, SYSTEM, USER) == "[system] system text\n[user] user text\n[assistant]"


def test_a_template_may_want_parts_of_some_roles_alone():
    """And must never get parts where it writes a text, or they would stand in the prompt as Python writes them."""
    assert render(MIXED, SYSTEM, USER) == "[system] system text [user] user text "
    assert render(PARTS_OF_SYSTEM, SYSTEM, USER) == "system text user text"
    assert refused(PARTS, SYSTEM, ChatMessage("tool", "x")).param == "messages[1]"


def test_a_template_that_takes_both_forms_gets_texts():
    """As before the form was asked for: what was tuned on it stays right."""
    assert render(EITHER, USER) == "[user] user text\n"


@pytest.mark.parametrize(
    ("template", "messages", "lost"),
    [
        (KNOWN, (USER, ChatMessage("tool", "22 degrees")), "messages[1]"),
        (KNOWN, (ChatMessage("User", "hello"),), "messages[0]"),
        (FIRST_SYSTEM, (SYSTEM, USER, ANSWER, SYSTEM, USER), "messages[3]"),
        (FIRST_SYSTEM, (USER, SYSTEM), "messages[1]"),
        (SYSTEM_LAST, (SYSTEM, USER, ANSWER), "messages[0]"),
        (LAST_USER, (USER, ANSWER, USER), "messages[0]"),
        (LAST_THREE, (USER, ANSWER) * 5, "messages[0]"),
        (NO_PREFILL, (USER, ANSWER), "messages[1]"),
        ("You are a helpful assistant.", (USER,), "messages[0]"),
    ],
)
def test_what_would_not_be_in_the_prompt_is_refused(template, messages, lost):
    """By the message, whatever the template's reason is."""
    error = refused(template, *messages)
    assert error.param == lost
    assert lost in str(error)


@pytest.mark.parametrize(
    ("template", "messages"),
    [
        (ALTERNATING, (USER, ANSWER, USER)),
        (MERGING, (SYSTEM, USER, ANSWER, USER)),
        (MERGING, (DEVELOPER, USER)),
        (SYSTEM_LAST, (SYSTEM, USER, ANSWER, USER)),
        (LAST_USER, (USER,)),
        (LAST_THREE, (SYSTEM, USER, ANSWER)),
        ("{{ messages[0].content }} {{ messages[0].content }}", (USER,)),
    ],
)
def test_what_is_in_the_prompt_is_answered(template, messages):
    rendered = render(template, *messages)
    assert all(message.content in rendered for message in messages)


@pytest.mark.parametrize(
    ("template", "content", "rendered"),
    [
        ("{{ messages[0].content | tojson }}", 'say "é" <b>', '"say \\"é\\" <b>"'),
        ("{{ messages[0].content | e }}", "a < b", "a &lt; b"),
        ("{{ messages[0].content | upper }}", "a b", "A B"),
        ("{{ messages[0].content | trim }}", "  a ", "a"),
        ("{{ bos_token }}{{ messages[0].content }}{{ tools }}{{ date_string }}", "a", "aNone"),
        (COMMANDS, "/no_think be brief", "[user]  be brief"),
        (GENERIC, "", "[user] \n[assistant]"),
        (GENERIC, "{{ messages }} {% raw %}", "[user] {{ messages }} {% raw %}\n[assistant]"),
    ],
)
def test_a_template_may_write_a_text_in_its_own_way(template, content, rendered):
    """Escaped, trimmed, in capitals: the text is there; it is the template's to say how."""
    assert render(template, ChatMessage("user", content)) == rendered


def test_old_reasoning_goes_on_purpose():
    answer = ChatMessage("assistant", "<think>so and so</think>It rains.")
    assert render(REASONING, USER, answer, USER) == "[user] user text[assistant] It rains.[user] user text"


def test_a_text_cannot_pass_for_another_one():
    """The check asks with texts of its own: what a message says makes no difference."""
    error = refused(LAST_USER, ChatMessage("user", "text"), ANSWER, ChatMessage("user", "text an answer"))
    assert error.param == "messages[0]"


def test_a_conversation_of_a_thousand_messages():
    messages = (USER, ANSWER) * 512
    assert render(GENERIC, *messages).count("user text") == 512
    assert refused(LAST_THREE, *messages).param == "messages[0]"


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('it says this') }}",
        "{{ messages[0].content + 1 }}",
        "{{ 1 // 0 }}",
        "{{ messages[7].content.text }}",
        "{{ messages[0]['content'].no_such_method() }}",
        "{{ {}.pop('it says this') }}",
        "{{ [1][5] + 1 }}",
        "{{ 'x'.encode('latin-9000') }}",
        "{{ range(10000000) | list }}",
        "{% macro m(n) %}{{ m(n) }}{% endmacro %}{{ m(1) }}",
        "{{ messages[0].content.__class__.__mro__ }}",
        "{{ missing.text }}",
    ],
)
@pytest.mark.parametrize("when", ["true", "'user text' in messages[0].content"])
def test_whatever_a_template_raises_is_a_refusal(template, when):
    """Always or for this text alone: its own words are not quoted, and no exception of Python's or Jinja's passes."""
    error = refused(f"{{% if {when} %}}{template}{{% endif %}}{{{{ messages[0].content }}}}", USER)
    assert ("accepts no message" if when == "true" else "does not accept these messages") in str(error)
    assert "it says this" not in str(error)


def test_messages_that_a_template_refuses_are_refused():
    assert "does not accept these messages" in str(refused(ALTERNATING, SYSTEM, USER))
    assert "does not accept these messages" in str(refused(ALTERNATING, USER, USER))


def test_a_template_fit_for_use_has_no_problem():
    for template in (KNOWN, GENERIC, PARTS, MIXED, EITHER, ALTERNATING, MERGING, FIRST_SYSTEM, LAST_USER, REASONING):
        found = byte_level(template).chat_template
        assert found is not None
        assert found.problem is None


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for m in messages %}", "no valid Jinja"),
        ("{{ messages | no_such_filter }}", "no valid Jinja"),
        ("{{ 1 // 0 }}", "accepts no message of the role 'user'"),
        ("fixed", "shows no message of the role 'user'"),
        ({"tool_use": GENERIC, "rag": GENERIC}, "none of them is named 'default'"),
    ],
)
def test_a_template_that_is_of_no_use_is_known_at_start(template, said):
    """In a sentence that is logged, and with which every conversation is refused that the template cannot take."""
    tokenizer = byte_level.__wrapped__(template)
    assert tokenizer.chat_template is not None
    assert said in str(tokenizer.chat_template.problem)
    with pytest.raises(ChatRefused) as caught:
        render_chat(tokenizer, [USER])
    assert said in str(caught.value) or caught.value.param == "messages[0]"


def test_named_templates_with_a_default_are_fine():
    tokenizer = byte_level.__wrapped__({"default": GENERIC, "tool_use": "x"})
    assert render_chat(tokenizer, [USER]) == "[user] user text\n[assistant]"


def test_an_empty_template_is_none():
    assert render("", USER) == "user text"


def test_without_a_chat_template_one_user_message_is_the_input():
    """More of them cannot be told apart, and other roles not be told: both are refused rather than dropped."""
    assert render(None, USER) == "user text"
    for messages in ((USER, USER), (SYSTEM, USER), (USER, ANSWER, USER), (ANSWER,)):
        assert "no chat template" in str(refused(None, *messages))
