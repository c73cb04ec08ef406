"""Methods out of public libraries, each wrapped as the library's users would: `bench run --method skorch`."""

from importlib import import_module

from bench import hookimpl

WRAPS = {
    "accelerate": "Accelerated",
    "averaged": "Averaged",
    "boosting": "Boosting",
    "cleaned": "Cleaned",
    "contrastive": "Contrastive",
    "co_teaching": "CoTeaching",
    "fair": "Fair",
    "lion": "LionCosine",
    "mixup": "MixUp",
    "proxies": "Proxies",
    "self_paced": "SelfPaced",
    "sharpness": "SharpnessAware",
    "skorch": "Skorch",
    "smote": "Smote",
}
"""Name of a wrap, of its module and of its method -> name of its class."""


@hookimpl
def bench_methods():
    return {name: getattr(import_module(f"bench_wraps.{name}"), kind) for name, kind in WRAPS.items()}
