"""The meta-step, for methods that learn weights through a virtual step: it is exact, and needs no double backward.

A method calls `LookAhead.outputs` in its `losses`, and `LookAhead.gradient` or `LookAhead.derivative` in its `weights`.
"""

from bench.meta.choice import BACKENDS as BACKENDS
from bench.meta.choice import check_backend as check_backend
from bench.meta.choice import warning as warning
from bench.meta.functional import Net as Net
from bench.meta.functional import Parameters as Parameters
from bench.meta.functional import RandomState as RandomState
from bench.meta.gradient import Inner as Inner
from bench.meta.gradient import gradient_by_double_backward as gradient_by_double_backward
from bench.meta.look_ahead import LookAhead as LookAhead
from bench.meta.passes import Validation as Validation
from bench.meta.virtual import VirtualStep as VirtualStep
from bench.meta.virtual import gradient_step as gradient_step
from bench.meta.virtual import optimizer_step as optimizer_step
from bench.meta.virtual import virtual_step as virtual_step
