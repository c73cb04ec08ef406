"""The models that the project times training steps on."""

from collections.abc import Mapping
from dataclasses import replace

from bench import hookimpl
from bench.throughput import Workload

RESNET = Workload("resnet18", (3, 32, 32), 10, batch_size=32)
MLP = Workload("mlp", (1, 28, 28), 10, {"hidden": (512, 512)}, batch_size=100)
VIT = Workload("timm/vit_tiny_patch16_224", (3, 32, 32), 10, batch_size=32)  # timm builds it for 32 pixels
CNN = Workload("byrd_cnn", (3, 32, 32), 2, batch_size=64)


@hookimpl
def bench_workloads() -> Mapping[str, Workload]:
    return {
        "resnet18": RESNET,
        "resnet18_quarter": replace(RESNET, val_batch_size=8, groups=2),  # 8 samples cannot hold ten groups
        "mlp": MLP,
        "mlp_quarter": replace(MLP, val_batch_size=25),
        "mlp_groups": Workload("mlp", (100,), 2, {"hidden": (512, 512)}, groups=2, batch_size=100),
        "vit": VIT,
        "byrd_cnn": CNN,
        "byrd_cnn_quarter": replace(CNN, val_batch_size=16),
        "logistic_stacked": Workload("logistic", (20,), 2, batch_size=64, stack=10),
        "mlp_stacked": Workload("mlp", (100,), 2, {"hidden": (32,)}, batch_size=64, stack=10),
    }
