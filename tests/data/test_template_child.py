"""Foreign templates: whatever one tries, the run goes on with a plain reason, and no process is left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

import pytest

from postil.data import template_renderer
from postil.data.conversations import Message
from postil.data.template_child import CHILD, HAS_LIMITS, TemplateChild
from postil.data.template_renderer import Rendering, TemplateRefusal, check_template, render, render_all
from postil.data.template_sandbox import render_job

pytestmark = pytest.mark.skipif(not HAS_LIMITS, reason="templates run in this process where a child has no limits")

GREETING = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
CHAT = (Message("user", "你好"), Message("assistant", "hi\n"))
TODAY = date(2026, 3, 5)
FOREVER = (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    "{% endfor %}{% endfor %}{% endfor %}"
)


def draw(source: str) -> str:
    return render(source, CHAT, {}, TODAY)


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(pid)


def test_a_template_that_hangs_is_ended_and_the_next_one_works() -> None:
    assert draw(GREETING) == "[user]你好[assistant]hi\n"
    first = CHILD.pid
    began = time.monotonic()
    with pytest.raises(TemplateRefusal, match="2 seconds"):
        draw(FOREVER)
    assert time.monotonic() - began < 30
    assert draw(GREETING) == "[user]你好[assistant]hi\n"
    assert CHILD.pid != first
    assert first is not None and not is_alive(first)


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'a' * 10 ** 9 }}",
        "{% set n = namespace(s='abcdefgh') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}{{ n.s }}",
        "{{ 'a'.center(1000000000) }}",
        "{{ 'a' | center(1000000000) }}",
        "{{ '%0999999999d' % 1 }}",
        "{{ 'a'.rjust(10 ** 9) | length }}",
        "{{ range(99999) | list | string | list | string | list | string | list | string | list | string }}",
        "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    ],
)
def test_what_eats_memory_is_refused_and_the_child_lives(source: str) -> None:
    draw(GREETING)
    with pytest.raises(TemplateRefusal):
        draw(source)
    assert draw(GREETING).startswith("[user]")


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ lipsum.__globals__['os'].system('id') }}",
        "{{ self.__init__.__globals__ }}",
        "{{ ''.__class__.__base__.__subclasses__()[0].__init__.__globals__ }}",
        "{{ namespace.__init__.__globals__ }}",
        "{{ messages.append({'role': 'system'}) }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}{{ os }}",
    ],
)
def test_no_template_reaches_python(source: str) -> None:
    with pytest.raises(TemplateRefusal):
        draw(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ '{0.__class__}'.format(1) }}",
        "{{ messages | attr('__class__') }}",
        "{{ raise_exception.__globals__ }}",
        "{{ [1] | map(attribute='__class__') | list }}",
        "{{ request }}{{ config }}{{ os }}",
    ],
)
def test_what_the_sandbox_hides_is_empty(source: str) -> None:
    assert "class" not in draw(source) and "module" not in draw(source)


def test_the_text_is_that_of_the_same_template_here() -> None:
    source = "{{ strftime_now('%d %b %Y') }}{{ tools | tojson(indent=1) }}{{ messages | tojson }}{{ bos_token }}"
    tools = [{"name": "f", "b": 1.5, "a": [1, None, True], "z": {"ü": "\u2028<"}}]
    job = {
        "special_tokens": {"bos_token": "<s>"},
        "today": "2026-03-05",
        "messages": [{"role": m.role, "content": m.content} for m in CHAT],
        "tools": tools,
        "marks": None,
    }
    here = render_job(source, job)
    assert render(source, CHAT, {"bos_token": "<s>"}, TODAY, tools=tools) == here
    assert here.startswith("05 Mar 2026")


def test_of_several_jobs_only_the_bad_one_is_refused() -> None:
    source = "{% if messages[0].content == 'hang' %}" + FOREVER + "{% endif %}{{ messages[0].content }}"
    child = TemplateChild()
    job = {"special_tokens": {}, "today": "2026-03-05", "tools": None, "marks": None}
    jobs = [job | {"messages": [{"role": "user", "content": word}]} for word in ("a", "hang", "b")]
    try:
        answers = child.ask("render", source, jobs)
        assert (answers[0], answers[2]) == ("a", "b") and isinstance(answers[1], TemplateRefusal)
    finally:
        child.close()
    assert child.pid is None


def test_a_template_that_hung_three_times_is_not_tried_again() -> None:
    child = TemplateChild()
    child._kills[FOREVER] = 3
    answers = child.ask("render", FOREVER, [{}, {}])
    assert [str(a) for a in answers] == ["it took more than 2 seconds"] * 2
    assert child.pid is None  # not even started


def test_compiling_hangs_nothing_either() -> None:
    with pytest.raises(TemplateRefusal):
        check_template("{{ 'a' | center(1000000000) | center(1000000000) }}" + "{% for")


def test_a_number_too_large_for_the_pipe_is_refused() -> None:
    with pytest.raises(TemplateRefusal):
        render_all(GREETING, [Rendering(CHAT, tools=[{"n": 2**70}])], {}, TODAY)
    assert draw(GREETING)


def test_a_fork_gets_a_child_of_its_own() -> None:
    draw(GREETING)
    pid, mine = os.fork(), CHILD.pid
    if pid == 0:
        with contextlib.suppress(BaseException):
            is_good = mine is None or CHILD.pid is None
            is_good = is_good and draw(GREETING).startswith("[user]") and CHILD.pid is not None
            CHILD.close()
            os._exit(0 if is_good else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert draw(GREETING).startswith("[user]") and CHILD.pid == mine


PROGRAM = """
import sys
from datetime import date
from postil.data import template_renderer
from postil.data.conversations import Message
from postil.data.template_child import CHILD
from postil.data.template_renderer import render
print(render("{{ messages[0].content }}", [Message("user", "hi")], {}, date(2026, 3, 5)), CHILD.pid, flush=True)
if sys.argv[1:]:
    render(sys.argv[1], [Message("user", "hi")], {}, date(2026, 3, 5))
"""


def test_no_child_outlives_its_parent() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == "hi"
    wait_until_gone(int(done.stdout.split()[1]))


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_parent_leaves_no_hanging_child(by: signal.Signals) -> None:
    running = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, FOREVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert running.stdout is not None
    child = int(running.stdout.readline().split()[1])
    time.sleep(0.3)
    running.send_signal(by)
    running.wait(20)
    running.stdout.close()
    wait_until_gone(child)


def test_where_there_are_no_limits_templates_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    CHILD.close()
    monkeypatch.setattr(template_renderer, "HAS_LIMITS", False)
    caches = (template_renderer._is_foreign, template_renderer._inspect)
    for cache in caches:
        cache.cache_clear()
    try:
        check_template(GREETING)
        assert draw(GREETING) == "[user]你好[assistant]hi\n"
        with pytest.raises(TemplateRefusal):
            draw("{{ 'a' * 10 ** 9 }}")
        assert CHILD.pid is None
    finally:
        for cache in caches:
            cache.cache_clear()
