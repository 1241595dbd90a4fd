"""Figures for Prometheus, as its text format spells them. Counts of this process, and a few of the service's state."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from threading import Lock

BUCKETS_SECONDS = (0.005, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0)
_Labels = tuple[tuple[str, str], ...]


@dataclass
class Metrics:
    """Counts requests; safe to use from many threads."""

    requests: dict[_Labels, int] = field(default_factory=lambda: defaultdict(int))
    durations: dict[_Labels, list[float]] = field(default_factory=dict)
    counts: dict[tuple[str, _Labels], float] = field(default_factory=lambda: defaultdict(float))
    lock: Lock = field(default_factory=Lock)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request that was answered; status 0 where the client had gone before."""
        with self.lock:
            self.requests[("method", method), ("route", route), ("status", str(status))] += 1
            seen = self.durations.setdefault((("route", route),), [0.0] * (len(BUCKETS_SECONDS) + 2))
            for i, bound in enumerate(BUCKETS_SECONDS):
                seen[i] += seconds <= bound
            seen[-2] += 1
            seen[-1] += seconds

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Adds to a counter."""
        with self.lock:
            self.counts[name, tuple(labels.items())] += amount

    def text(self, gauges: Mapping[str, Mapping[_Labels, float]]) -> str:
        """Everything, as a scraper reads it.

        Args:
            gauges: name -> labels -> value, of things that are asked for at the moment of the scrape.
        """
        with self.lock:
            lines = list(_family("postil_http_requests_total", "counter", self.requests.items()))
            lines.append("# TYPE postil_http_request_seconds histogram")
            for labels, seen in self.durations.items():
                name = "postil_http_request_seconds"
                for bound, value in zip((*BUCKETS_SECONDS, "+Inf"), seen, strict=False):
                    lines.append(_sample(f"{name}_bucket", (*labels, ("le", str(bound))), value))
                lines += [_sample(f"{name}_count", labels, seen[-2]), _sample(f"{name}_sum", labels, seen[-1])]
            for name in sorted({name for name, _ in self.counts}):
                values = ((labels, value) for (known, labels), value in self.counts.items() if known == name)
                lines += _family(f"postil_{name}_total", "counter", values)
        for name, known in gauges.items():
            lines += _family(f"postil_{name}", "gauge", known.items())
        return "\n".join(lines) + "\n"


def _family(name: str, kind: str, samples: Iterable[tuple[_Labels, float]]) -> Iterable[str]:
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield _sample(name, labels, value)


def _sample(name: str, labels: _Labels, value: float) -> str:
    spelled = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
    return f"{name}{{{spelled}}} {value:g}" if labels else f"{name} {value:g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
