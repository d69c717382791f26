"""Small models over the digits that ship inside scikit-learn: 1,797 scans of 8 by 8 pixels."""

from __future__ import annotations

from typing import Any

from sklearn.datasets import load_digits
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def accuracy(family: str, size: int, seed: int) -> float:
    """Train a model and return the share of digits it gets right among those it never saw."""
    images, digits = load_digits(return_X_y=True)
    fit_x, test_x, fit_y, test_y = train_test_split(
        images, digits, test_size=0.25, random_state=seed
    )
    model = _model(family, size, seed)
    model.fit(fit_x, fit_y)
    return round(float(model.score(test_x, test_y)), 6)


def _model(family: str, size: int, seed: int) -> Any:  # noqa: ANN401 - scikit-learn has no types
    match family:
        case "neighbours":
            return KNeighborsClassifier(n_neighbors=size)
        case "forest":
            return RandomForestClassifier(n_estimators=size, random_state=seed)
        case _:
            regression = LogisticRegression(C=size / 100, max_iter=200)
            return make_pipeline(StandardScaler(), regression)
