"""What a PromQL expression asks for, held against what the service publishes."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import promql_parser as promql

Exposed = Mapping[str, Mapping[str, set[str]]]  # metric, label, the values it has

TARGET_LABELS = {"job", "instance"}  # Prometheus adds them to whatever it scrapes


class Selector(NamedTuple):
    """One metric in an expression, and what its labels are to be: (label, value)."""

    metric: str
    wanted: list[tuple[str, str]]


def nodes(query: promql.Expr) -> list[promql.Expr]:
    """Give all parts of an expression, itself first."""
    found: list[promql.Expr] = []
    promql.walk(query, pre_visit=found.append)
    return found


def selectors(query: promql.Expr) -> list[Selector]:
    """Give the metrics that an expression reads; alternatives of a pattern one by one."""
    return [
        Selector(node.name or "", [(m.name, v) for m in node.matchers.matchers for v in _values(m)])
        for node in nodes(query)
        if isinstance(node, promql.VectorSelector)
    ]


def _values(matcher: promql.Matcher) -> list[str]:
    is_pattern = matcher.op in (promql.MatchOp.Re, promql.MatchOp.NotRe)
    return matcher.value.split("|") if is_pattern else [matcher.value]


def faults(query: promql.Expr, exposed: Exposed) -> Iterator[str]:
    """Say what an expression asks for that nobody publishes: metrics, labels, values, groupings."""
    for metric, wanted in selectors(query):
        if metric not in exposed:
            yield f"no metric {metric}"
            continue
        for label, value in wanted:
            if label not in exposed[metric].keys() | TARGET_LABELS:
                yield f"{metric} has no label {label}"
            elif label not in TARGET_LABELS and value not in exposed[metric][label]:
                yield f"{metric} is never {label}={value}"
    for node in nodes(query):
        there = labels_of(node, exposed)
        for label in _grouping(node):
            if label not in there:
                yield f"nothing to group by {label}"


def _grouping(node: promql.Expr) -> list[str]:
    if isinstance(node, promql.AggregateExpr):
        return node.modifier.labels if node.modifier else []
    if isinstance(node, promql.BinaryExpr) and node.modifier and node.modifier.matching:
        return node.modifier.matching.labels
    return []


def labels_of(query: promql.Expr, exposed: Exposed) -> set[str]:
    """Give the labels of all that an expression reads."""
    read = [exposed.get(metric, {}).keys() | TARGET_LABELS for metric, _ in selectors(query)]
    return set().union(*read)


def labels_left(query: promql.Expr, exposed: Exposed) -> set[str]:
    """Give the labels that its result still has, for legends and messages."""
    if isinstance(query, promql.AggregateExpr):
        return set(query.modifier.labels) if query.modifier else set()
    if isinstance(query, promql.BinaryExpr):
        return labels_left(query.lhs, exposed)
    if isinstance(query, promql.ParenExpr):
        return labels_left(query.expr, exposed)
    return labels_of(query, exposed)
