"""Weights of a network for some instruments as a start for a network for others. Used by notebook 04."""

import json

import numpy as np

from muscomp_lib.core import instruments
from muscomp_lib.core.errors import SettingError
from muscomp_lib.core.instruments import OTHER
from muscomp_lib.models.config import targets
from muscomp_lib.models.weights import get_weights


def start_weights(network, values, theirs, where):
    """Weights for `network` from those of another network of its type, for other instruments.

    All layers but the last are the same for any instruments. In the last, an instrument that both have, by its name or
    its MIDI programs, keeps its weights: `Bass` is Slakh's bass. A group begins as the sum of the shares of its
    instruments. Any instrument that the other network lacks begins as its `other`, which contained it, or at random
    where there is none.

    Parameters
    ----------
    network : registry.Network
        To train.
    values : dict of str to np.ndarray
        The weights of the other network.
    theirs : dict
        The other network's configuration.
    where : Path
        Where its weights are from, for the message.

    Returns
    -------
    dict of str to np.ndarray

    Raises
    ------
    SettingError
        The networks are of different types, or of one that has no last layer for all instruments.
    """
    if not network.instrument_axes or theirs["model"]["type"] != network.type:
        raise SettingError(
            f"{where} holds the weights of another network, of type {theirs['model']['type']} for "
            f"{json.dumps(theirs['instrument_list'])}. Start from a network of type {network.type} for the same "
            "instruments, or from fresh weights."
        )
    fresh, start = get_weights(network.build()), dict(values)
    sources = [_sources(name, network.config, theirs) for name in network.instruments]
    for path, axis in network.instrument_axes.items():
        columns = [_column(values[path], fresh[path], axis, *each) for each in enumerate(sources)]
        start[path] = np.stack(columns, axis=axis).astype(np.float32)
    return start


def _sources(name, config, theirs):
    """The numbers of another network's instruments that a target is made of, by their names or MIDI programs."""
    listed = theirs["instrument_list"]
    members = (targets(config) or {}).get(name, [name])
    found = {
        number
        for number, known in enumerate(listed)
        if any(known.lower() == each.lower() for each in (name, *members))
        or any(_programs(each, config) & _programs(known, theirs) for each in members)
    }
    return sorted(found) if found or OTHER not in listed else [listed.index(OTHER)]


def _programs(name, config):
    """The General MIDI programs of an instrument, as far as its name is known."""
    found = instruments.find(name, config["muscomp"]["taxonomy"] or instruments.DEFAULT_TAXONOMY)
    return set(found.programs) if found else set()


def _column(values, fresh, axis, which, sources):
    """The weights of one target: of a softmax's logits, a sum of n equal shares is their mean plus log n."""
    if not sources:
        return np.take(fresh, which, axis)
    mean = np.take(values, sources, axis).mean(axis=axis)
    return mean + np.log(len(sources)) if values.ndim == 1 else mean
