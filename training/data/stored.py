"""Examples on disk, read one by one: for data larger than memory.

An Arrow file in record batches of a few rows; an example is had by reading its batch and no more. The file is read and
not mapped, because mapped pages count as the process's own memory once they are touched.
"""

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

import pyarrow as pa

from training.data.dataset import Example, keep_labels_of

# Few, because reading one example reads as many; more would make the file smaller by little.
ROWS_PER_BATCH = 32

_SCHEMA = pa.schema(
    {
        "labels": pa.list_(pa.string()),
        "text": pa.string(),
        "image": pa.string(),
        "audio": pa.string(),
        "words": pa.list_(pa.string()),
        "group": pa.string(),
    }
)


class ExampleWriter:
    """Writes examples to a file, one after the other; a context manager."""

    def __init__(self, file: Path) -> None:
        self._stream = pa.OSFile(str(file), "wb")
        self._writer = pa.ipc.new_file(self._stream, _SCHEMA)
        self._rows: list[dict[str, Any]] = []
        self.count = 0

    def __enter__(self) -> "ExampleWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        self._writer.close()
        self._stream.close()

    def write(self, example: Example) -> None:
        """Append an example."""
        self._rows.append(
            {
                "labels": example.labels,
                "text": example.text,
                "image": None if example.image is None else str(example.image),
                "audio": None if example.audio is None else str(example.audio),
                "words": example.words,
                "group": example.group,
            }
        )
        self.count += 1
        if len(self._rows) == ROWS_PER_BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, _SCHEMA))
            self._rows.clear()


class StoredExamples(Sequence[Example]):
    """The examples of a file that `ExampleWriter` wrote; pickled as the file's path, so that processes can share it."""

    def __init__(self, file: Path, labels: Collection[str] | None = None) -> None:
        """Open a file; where `labels` are given, the examples are read without all others."""
        self.file = file
        self._labels = labels
        self._reader = pa.ipc.open_file(pa.OSFile(str(file)))
        batches = self._reader.num_record_batches
        last = self._reader.get_batch(batches - 1).num_rows if batches else 0
        self._count = max(0, batches - 1) * ROWS_PER_BATCH + last

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"index must be in [{-len(self)}, {len(self)}), got {index}")
        batch, row = divmod(index % len(self), ROWS_PER_BATCH)
        [fields] = self._reader.get_batch(batch).slice(row, 1).to_pylist()
        return self._example(fields)

    def __iter__(self) -> Iterator[Example]:
        for batch in range(self._reader.num_record_batches):
            yield from map(self._example, self._reader.get_batch(batch).to_pylist())

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredExamples, (self.file, self._labels)

    def keep_labels(self, labels: Collection[str]) -> "StoredExamples":
        """The same examples, of whose labels only `labels` are read."""
        return StoredExamples(self.file, frozenset(labels))

    def _example(self, fields: dict[str, Any]) -> Example:
        example = Example(
            labels=tuple(fields["labels"]),
            text=fields["text"],
            image=None if fields["image"] is None else Path(fields["image"]),
            audio=None if fields["audio"] is None else Path(fields["audio"]),
            words=None if fields["words"] is None else tuple(fields["words"]),
            group=fields["group"],
        )
        return example if self._labels is None else keep_labels_of(example, self._labels)
