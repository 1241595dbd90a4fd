"""The built-in form of a conversation, for base models without a chat template: "### Instruction / ### Response"."""

INSTRUCTION_NAME = "### Instruction / ### Response"

INSTRUCTION_TEMPLATE = """\
{%- set turn = namespace(before='', system='') -%}
{%- for m in messages -%}
{%- if m.role == 'system' -%}{%- set turn.system = m.content + '\\n' -%}
{%- elif m.role == 'user' -%}
{{- turn.before + '### Instruction:\\n' + turn.system + m.content + '\\n\\n### Response:\\n' -}}
{%- set turn.before = '\\n\\n' -%}{%- set turn.system = '' -%}
{%- else -%}{%- generation -%}{{- m.content + (eos_token or '\\n\\n###') -}}{%- endgeneration -%}
{%- endif -%}
{%- endfor -%}"""
"""A tokenizer without an end token ends answers with the next block's `###`."""

INSTRUCTION_STOPS = ("###", "</s>")
"""Ordinary text on which answering stops, beside the end token."""
