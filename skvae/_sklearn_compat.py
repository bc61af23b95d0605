"""What differs between scikit-learn versions: callbacks (from 1.9) and the HTML diagram."""

from __future__ import annotations

import warnings
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # scikit-learn < 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Accept callbacks and say that this scikit-learn cannot call them."""

        def set_callbacks(self, *callbacks):
            """Warn that callbacks are ignored below scikit-learn 1.9."""
            if callbacks:
                warnings.warn(
                    "Callbacks need scikit-learn >= 1.9 and are ignored. Use verbose=1 for a "
                    "progress line.",
                    stacklevel=2,
                )
            return self

    def with_callbacks(method):
        """Leave the method as it is."""
        return method


class FitProgress:
    """Tells the callbacks of an estimator when each epoch begins and ends.

    Parameters
    ----------
    estimator : estimator
        The one being fitted.
    max_iter : int
        Number of epochs at most.
    data : dict
        ``X``, ``y`` and ``metadata`` as the callbacks may ask for.
    """

    def __init__(self, estimator, max_iter: int, **data: Any):
        self.estimator, self.data, self.n_left = estimator, data, max_iter
        self.context: Any = None
        self.epoch: Any = None
        if hasattr(estimator, "_init_callback_context"):
            context = estimator._init_callback_context(max_subtasks=max_iter)
            if context._callbacks:
                self.context = context.call_on_fit_task_begin(estimator=estimator, **data)
                self._begin()

    def end_epoch(self) -> bool:
        """End an epoch and begin the next; True when a callback wants training to stop."""
        if self.context is None:
            return False
        stop = self.epoch.call_on_fit_task_end(estimator=self.estimator, **self.data)
        self._begin()
        return stop

    def end(self) -> None:
        """End the fit."""
        if self.context is not None:
            self.context.call_on_fit_task_end(estimator=self.estimator, **self.data)

    def _begin(self) -> None:
        if not self.n_left:
            return
        self.n_left -= 1
        epoch = self.context.subcontext(task_name="epoch")
        self.epoch = epoch.call_on_fit_task_begin(estimator=self.estimator, **self.data)


def nested_diagram(estimator, parts: list[tuple[str, Any]]):
    """HTML diagram block that shows the parts of an estimator beside one another."""
    try:
        from sklearn.utils._repr_html.estimator import _VisualBlock
    except ImportError:  # scikit-learn < 1.8
        from sklearn.utils._estimator_html_repr import _VisualBlock
    names, components = zip(*parts)
    return _VisualBlock(
        "parallel",
        list(components),
        names=list(names),
        name_details=[str(component) for component in components],
        dash_wrapped=False,
    )
