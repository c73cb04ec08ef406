"""A search by a Gaussian process: which points of a pool to observe next."""

import warnings

import numpy as np
from torch import Tensor


def propose(alphas: Tensor, gains: Tensor, pool: Tensor, count: int, radius: float) -> list[int]:
    """Rows of `pool` [M, d] to observe next, after `gains` [n] at `alphas` [n, d]."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor, kernels  # takes a while, and few need it

    x, y, points = (t.cpu().numpy() for t in (alphas, gains, pool))
    y = (y - y.mean()) / (y.std() or 1.0)
    kernel = kernels.ConstantKernel(1.0, (1e-2, 1e2)) * kernels.RBF(radius, (1e-2 * radius, 1e2 * radius))
    process, chosen = GaussianProcessRegressor(kernel, alpha=1e-4), list[int]()
    for _ in range(count):
        with warnings.catch_warnings(action="ignore", category=ConvergenceWarning):  # a flat metric has no best kernel
            process.fit(x, y)
        mean, std = process.predict(points, return_std=True)
        chosen.append(best := int((mean + std).argmax()))
        x, y = np.vstack([x, points[best]]), np.append(y, mean[best] - std[best])
        process.set_params(kernel=process.kernel_, optimizer=None)
    return chosen
