"""What a training step of each method costs, beside the baseline and beside other implementations of the same method.

`measure` measures (with torch), `record` keeps, `page` renders (neither imports torch). `corruptions` keeps and renders
what the corruptions of images cost.
"""

from bench.throughput.record import ThroughputRecord as ThroughputRecord
from bench.throughput.workload import Conditions as Conditions
from bench.throughput.workload import Workload as Workload
