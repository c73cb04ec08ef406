"""The separator that logistic regression tends to where the training data are linearly separable."""

import numpy as np
from numpy.typing import NDArray

from bench.plots.select import Array

HARD = 1e10  # the penalty of a violated margin; it bounds no multiplier of data that can be told apart


def max_margin(x: Array, y: NDArray[np.int64]) -> tuple[Array, float] | None:
    """The hyperplane `x @ w + b = 0` that is farthest from the samples of both classes.

    It is the hard-margin support vector machine, to a relative tolerance of 1e-6; whether the classes can be separated
    at all is asked of a linear program.

    Args:
        x: [N, D].
        y: [N], 0 or 1.

    Returns:
        The weights w [D] and the offset b, with class 1 on the positive side and the nearest samples at values of -1
        and 1; None if no hyperplane separates the classes, or if one of them does not occur.

    Source: Cortes and Vapnik 1995, Support-Vector Networks, section 2.
    """
    from scipy.optimize import linprog
    from sklearn.svm import SVC

    if y.min() == y.max():
        return None
    beyond = -np.where(y == 1, 1, -1)[:, None] * np.column_stack([x, np.ones(len(x))])
    if not linprog(np.zeros(beyond.shape[1]), beyond, -np.ones(len(x)), bounds=(None, None)).success:
        return None
    classifier = SVC(C=HARD, kernel="linear", tol=1e-6).fit(x, y)
    return classifier.coef_[0], float(classifier.intercept_[0])
