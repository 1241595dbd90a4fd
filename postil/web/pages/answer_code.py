"""Asking a model from a program, with everything filled in: address, name, and the key where it is new."""

import json
import shlex

from postil.web.pages.code import Snippet, python_call, python_value

NO_KEY = "pk_..."
"""Stands for a key that the page does not know: keys are shown once."""


def openai_snippet(address: str, key: str, model: str, question: str) -> Snippet:
    """An import and three calls for the unmodified `openai` client, no line wider than the page."""
    client = python_call("OpenAI", base_url=f"{address}/v1", api_key=key)
    lines = (
        "from openai import OpenAI",
        f"client = {client}",
        "reply = client.chat.completions.create(",
        f"    model={python_value(model)},",
        f'    messages=[{{"role": "user", "content": {python_value(question)}}}],',
        ")",
        "print(reply.choices[0].message.content)",
    )
    return "openai", "\n".join(lines)


def curl_snippet(address: str, key: str, model: str, question: str) -> Snippet:
    """One call for a shell."""
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": question}]}, ensure_ascii=False)
    parts = [
        f"curl {shlex.quote(f'{address}/v1/chat/completions')}",
        f"-H {shlex.quote(f'Authorization: Bearer {key}')}",
        "-H 'Content-Type: application/json'",
        f"-d {shlex.quote(body)}",
    ]
    return "curl", " \\\n  ".join(parts)


def client_snippet(address: str, key: str, model: str, question: str) -> Snippet:
    """The same with this project's own client, which is installed with it."""
    opened = python_call("postil.Client", address, api_key=key)
    asked = python_call("client.chat", model, question)
    return "Python", f"import postil\n\nwith {opened} as client:\n    print({asked})"


def answer_snippets(address: str, key: str, model: str, question: str) -> tuple[Snippet, ...]:
    """All three."""
    return tuple(make(address, key, model, question) for make in (openai_snippet, curl_snippet, client_snippet))
