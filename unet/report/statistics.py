"""What differences between runs with several seeds say."""

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import ttest_1samp


def mean_and_interval(differences: ArrayLike) -> tuple[float, float, float]:
    """The mean of paired differences, one per seed, and its 95 % confidence interval.

    Student's t with n - 1 degrees of freedom; of a single difference the interval is NaN.

    Returns:
        Mean, lower and upper end, in the differences' unit.
    """
    values = np.asarray(differences, dtype=float)
    if len(values) == 1:
        return float(values[0]), float("nan"), float("nan")
    interval = ttest_1samp(values, 0).confidence_interval(0.95)
    return float(values.mean()), float(interval.low), float(interval.high)
