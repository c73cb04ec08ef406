"""The state of a training for its checkpoint: it is written without pickling, and read without running code.

What is one object when it is written is one when it is read: it is packed once, and files keep that. So two names of a
list, and a tensor that is a module's parameter, stay what they were.
"""

from collections.abc import Mapping
from typing import Any

from bench.training.state.packing import CONSTANT, Packer, UnstorableError
from bench.training.state.restoration import Restoration


def stored(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint keeps of some attributes, as `torch.load` reads it with `weights_only`.

    These are numbers, texts, tensors, numpy arrays, generators of random numbers, whatever has a `state_dict` and a
    `load_state_dict`, and lists, tuples, sets, deques and dictionaries of these. Others are left out (`lost`).

    Args:
        values: name -> value.
    """
    kept, packer = {}, Packer(values)
    for name, value in values.items():
        try:
            if not isinstance(value, CONSTANT):
                kept[name] = packer.packed(value)
        except UnstorableError:
            continue
    return kept


def lost(values: Mapping[str, Any]) -> dict[str, str]:
    """What a checkpoint does not keep of some attributes, although it may change in a training.

    Args:
        values: name -> value.

    Returns:
        Name -> the type that cannot be stored.
    """
    found, packer = {}, Packer(values)
    for name, value in values.items():
        try:
            packer.packed(value)
        except UnstorableError as error:
            found[name] = str(error)
    return found


def restore(owner: Any, state: Mapping[str, Any]) -> None:
    """Put back the attributes that `stored` gave.

    What has a `state_dict`, and generators, are changed in place; so is a tensor that requires gradients, or that an
    optimiser or a module among the attributes holds. Everything else is made anew, and what was there is left as it
    is, because it may not be the owner's alone: a constant of a Python module, or the data.

    Args:
        owner: whose attributes they are; it has begun.
        state: from `stored`.

    Raises:
        PluginError: where an object that has to be there for its state is not, is another one's too, or does not take
            the state.
    """
    for name, value in Restoration(owner, vars(owner)).values(state).items():
        setattr(owner, name, value)


def unpacked(state: Mapping[str, Any]) -> dict[str, Any]:
    """The values that `stored` gave, all made anew: name -> value. Values with a state of their own need `restore`."""
    return Restoration(None, {}).values(state)
