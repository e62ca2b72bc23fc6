"""Offline degradations, such as real codecs: applied once, when shards are written, instead of in every epoch."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from blear.contracts import BuildContext, Dataset, Sample
from blear.degradation.chain import Chain, as_float, build_chain
from blear.errors import JobError
from blear.plugin.catalog import Catalog
from blear.plugin.uses import DegradationEntry, DegradationUse

_MAX_CLIPS = 64  # of a batch
_MAX_VALUES = 1 << 24  # of a batch: 64 MiB of float32


def degradation_records(catalog: Catalog, uses: Sequence[DegradationEntry]) -> list[dict[str, Any]]:
    """Records everything that the degraded frames depend on, for the digest and `dataset.json`.

    Returns:
        For each degradation, its full name, its parameters with their defaults, and the plugin's version.

    Raises:
        PluginError: a component or its parameters are wrong.
    """
    records: list[dict[str, Any]] = []
    for use in uses:
        if not isinstance(use, DegradationUse):
            records.append({use.key: degradation_records(catalog, use.members), **use.options})
            continue
        registered = catalog.get("degradation", use.use)
        own, _ = use.split(registered.component.params.model_fields)
        params = registered.checked_params(own)
        version = registered.plugin.version
        named = {"use": registered.name, "params": params.model_dump(mode="json"), "version": version}
        records.append(named | use.options)
    return records


def build_offline_chain(
    catalog: Catalog, uses: Sequence[DegradationEntry], seed: int, dataset: Dataset
) -> Callable[[int], Chain]:
    """Builds the chain for the clips of a dataset, on the CPU.

    Returns:
        A function: number of frames of a clip, which may be less than the declared one -> its chain.

    Raises:
        PluginError: a degradation cannot serve these clips.
        JobError: a degradation changes the size of the clips, which the dataset declares.
    """
    clip = dataset.clip
    chain, after = build_chain(catalog, uses, BuildContext(seed, clip))
    if after.clip is not None and after.clip != replace(clip, shortest=after.clip.shortest):
        what = f"clips of {clip.width}x{clip.height} become {after.clip.width}x{after.clip.height}"
        raise JobError(
            what, "degrade_once", "change the size in the stage's `augment`, or with the dataset's parameters"
        )

    @functools.cache
    def of_length(length: int) -> Chain:
        if length == clip.length:
            return chain
        return build_chain(catalog, uses, BuildContext(seed, replace(clip, length=length, shortest=None)))[0]

    return of_length


def degrade_samples(
    chain_of: Callable[[int], Chain], samples: Iterable[Sample], split: str, varied: bool
) -> Iterator[Sample]:
    """Yields the samples with degraded frames of the same type, and `kbps` in `meta` where a codec was applied.

    The random draws for a sample depend on the job's seed, the split and the sample's key alone.

    Args:
        chain_of: of `build_offline_chain`.
        samples: of one part.
        split: name of the split.
        varied: whether clips differ in length. If so, samples get no clean clip; else a sample without a clean clip
            keeps its undegraded frames as `clean`.
    """
    for batch in _batches(samples):
        frames_BTHWC = np.stack([sample.frames for sample in batch])
        frames_BTCHW = as_float(torch.from_numpy(frames_BTHWC).permute(0, 1, 4, 2, 3), torch.device("cpu"))
        ids_B = np.array([_sample_id(split, sample.key) for sample in batch], dtype=np.int64)
        shown_BTCHW, kbps_B = chain_of(frames_BTCHW.shape[1]).coded(frames_BTCHW, np.zeros_like(ids_B), ids_B)
        if frames_BTHWC.dtype == np.uint8:
            shown_BTCHW = shown_BTCHW.clamp(0, 1).mul(255).round().byte()
        shown_BTHWC = shown_BTCHW.permute(0, 1, 3, 4, 2).contiguous().numpy()
        for sample, shown, kbps in zip(batch, shown_BTHWC, kbps_B.tolist(), strict=True):
            clean = sample.clean if varied or sample.clean is not None else sample.frames
            meta: Mapping[str, str | int | float] = sample.meta if np.isnan(kbps) else {**sample.meta, "kbps": kbps}
            yield replace(sample, frames=shown, clean=clean, meta=meta)


def _batches(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Groups consecutive samples of equal shape and type."""
    batch: list[Sample] = []
    for sample in samples:
        if batch and (
            (sample.frames.shape, sample.frames.dtype) != (batch[0].frames.shape, batch[0].frames.dtype)
            or len(batch) == _MAX_CLIPS
            or (len(batch) + 1) * sample.frames.size > _MAX_VALUES
        ):
            yield batch
            batch = []
        batch.append(sample)
    if batch:
        yield batch


def _sample_id(split: str, key: str) -> int:
    """Computes a number of 56 bits from split and key, for the counter-based random generator."""
    return int.from_bytes(hashlib.sha256(f"{split}/{key}".encode()).digest()[:7])
