"""Facts of a job's data that are known before training: shapes, targets, splits, and their sizes once prepared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from blear.contracts import BuildContext, ClipSpec, Dataset, Target
from blear.data.dataset_info import Layout
from blear.data.prepared import Prepared
from blear.errors import BlearError
from blear.job.schema import Job
from blear.plugin.catalog import Catalog


@dataclass(frozen=True)
class DataFacts:
    """One entry of a job's `data`.

    Attributes:
        clip: shape of the stored clips.
        targets: target name -> target.
        splits: names of the splits, the training split first.
        layouts: split -> array types and shape of the clean clips; empty before the data is prepared.
        samples: split -> number of samples; empty before the data is prepared.
        class_counts: split -> class target -> samples of each class; empty before the data is prepared.
        prepared: the prepared data; None before the data is prepared.
        dataset: the dataset of the raw data; None for prepared data.
    """

    clip: ClipSpec
    targets: Mapping[str, Target]
    splits: tuple[str, ...]
    layouts: Mapping[str, Layout] = field(default_factory=dict)
    samples: Mapping[str, int] = field(default_factory=dict)
    class_counts: Mapping[str, Mapping[str, tuple[int, ...]]] = field(default_factory=dict)
    prepared: Prepared | None = None
    dataset: Dataset | None = None

    @staticmethod
    def of_prepared(prepared: Prepared) -> DataFacts:
        """The facts of prepared shards; reads no shard."""
        infos = prepared.info.splits
        return DataFacts(
            prepared.clip,
            prepared.targets,
            prepared.splits,
            {name: split.layout for name, split in infos.items()},
            {name: prepared.count(name) for name in infos},
            {name: split.class_counts for name, split in infos.items()},
            prepared,
        )

    @staticmethod
    def of_dataset(dataset: Dataset) -> DataFacts:
        """The facts that a dataset declares."""
        targets = {target.name: target for target in dataset.targets}
        return DataFacts(dataset.clip, targets, tuple(dataset.splits), dataset=dataset)

    def layout(self, split: str) -> Layout | None:
        """Array types and shape of the clean clips; None for a split without samples.

        Before the data is prepared, the first sample of the training split is read.

        Raises:
            DataError: the raw data is damaged.
        """
        if self.dataset is None:
            return self.layouts.get(split)
        for part in self.dataset.parts(self.splits[0]):
            for sample in self.dataset.samples(self.splits[0], part):
                return Layout.of(sample)
        return None


def data_facts(job: Job, catalog: Catalog) -> tuple[dict[str, DataFacts], dict[str, str]]:
    """Returns the facts of a job's data before it is prepared.

    Returns:
        name of data -> facts; and name of data -> reason, where the data cannot be opened.
    """
    known: dict[str, DataFacts] = {}
    unknown = {}
    for name, data in job.used_data.items():
        use, params = data.chosen
        try:
            if data.shards is not None:
                known[name] = DataFacts.of_prepared(Prepared.open(data.shards))
            else:
                known[name] = DataFacts.of_dataset(catalog.get("dataset", use).build(params, BuildContext(job.seed)))
        except BlearError as error:
            unknown[name] = error.what
    return known, unknown
