"""The alert rules name metrics that exist, and each says what to do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from obelisk_ops.core.durations import parse_duration
from obelisk_ops.monitor.catalogue import METRICS, PREFIX
from obelisk_ops.supervise.health import State

ROOT = Path(__file__).parents[2]
FILE = ROOT / "litestream" / "prometheus-rules.yml"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(FILE.read_text())["groups"] for rule in group["rules"]
]

every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])


def test_names_are_used_once() -> None:
    names = [rule["alert"] for rule in RULES]

    assert names
    assert len(set(names)) == len(names)


@every_rule
def test_it_names_metrics_that_exist_with_labels_that_they_have(rule: dict[str, Any]) -> None:
    known = {metric.full_name: metric.labels for metric in METRICS}

    used = re.findall(rf"({PREFIX}\w+)(?:{{([^}}]*)}})?", rule["expr"])
    assert used
    for name, matchers in used:
        assert set(re.findall(r"(\w+)\s*=~?", matchers)) <= set(known[name])
    told = str(rule["annotations"]["summary"])
    labels = set(re.findall(r"\$labels\.(\w+)", told))
    assert labels <= {label for name, _ in used for label in known[name]}


@every_rule
def test_it_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"]["severity"] in {"critical", "warning"}
    parse_duration(rule.get("for", "0s"))
    assert rule["annotations"]["summary"].endswith(".")
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^### (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {heading.lower() for heading in headings}


def test_every_state_that_is_not_well_is_alerted_on() -> None:
    text = " ".join(rule["expr"] for rule in RULES)
    named = {
        state for found in re.findall(r'state=~?"([^"]+)"', text) for state in found.split("|")
    }

    assert named == {state.value for state in State} - {State.OK, State.STARTING}


def test_every_rule_has_its_section_and_no_section_is_without_one() -> None:
    page = (ROOT / "docs" / "how-to" / "alert-on-it.md").read_text()

    assert re.findall(r"^### (.+)$", page, re.MULTILINE) == [rule["alert"] for rule in RULES]
