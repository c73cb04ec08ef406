"""The contracts of plugins, as checks that anyone can run on their own.

    from bench.testing import check_method

    def test_my_method():
        check_method(MyMethod)

Each raises AssertionError with what is broken. The built-in plugins pass the same checks.
"""

from bench.testing.data import check_dataset as check_dataset
from bench.testing.data import check_protocol as check_protocol
from bench.testing.methods import check_method as check_method
from bench.testing.methods import find_out as find_out
from bench.testing.metrics import check_metric as check_metric
from bench.testing.models import check_model as check_model
from bench.testing.toys import TOY_RECIPE as TOY_RECIPE
from bench.testing.toys import toy_dataset as toy_dataset
from bench.testing.toys import toy_split as toy_split
from bench.testing.toys import toy_task as toy_task
from bench.testing.trainings import train as train
