"""The settings of datasets and streams."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

_Limit = Annotated[int, Field(ge=0)]
_Lag = Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)]


class DatasetSettings(BaseModel):
    """What the emulator does with datasets and streams where nobody outside the vendor knows."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    max_sources_per_dataset: _Limit | None = 20
    """Most sources of one dataset; more are 403 'quotas exceeded'. The number is from the vendor's page, and its
    contract of 2025 names the quota; the status is a guess."""
    max_datasets_per_source: _Limit | None = 10
    """Most datasets that hold one source; more are 403 'quotas exceeded'. The number is from the vendor's page, and
    its contract of 2025 names the quota; the status is a guess."""
    unknown_source: Literal[400, 404, 422, "accept"] = 422
    """A source id in a dataset, or in an export of one, that names no source of the tenant or dataset. A guess:
    semantic errors elsewhere are 422."""
    export_bounds: Literal["both", "from", "to", "neither"] = "both"
    """Which of an export's from and to belong to the range; they limit what order_by names. A guess: in the
    vendor's client's tests both bounds of another range do."""
    export_order: Literal["ascending", "descending"] = "ascending"
    """Whether an export gives the earliest or the latest message first. A guess, without evidence."""
    predicted_labels: tuple[str, ...] = ("Complaint", "Request", "Request > Refund", "Request > Status", "Thanks")
    """Labels that a dataset without labels of its own predicts. A guess: made up, as is that a hash of the text
    decides which of them a message has, and with what probability."""
    predicted_label_names: Literal["path", "text"] = "path"
    """The name of a predicted label: a list of its parts, or one text with ' > ' between them. The vendor's
    contract of 2025 allows both; which one comes is a guess."""
    dataset_lag_s: _Lag = 0.0
    """Seconds until a dataset's exports, queries, statistics and streams show a message that was created. That they
    lag is a fact, since the vendor's client's tests wait for hours; how long is a guess."""
    prediction_lag_s: _Lag = 0.0
    """Seconds until a message that was created has predictions; labellers/status tells how many do. A guess:
    nothing is known of how long it takes."""
    stream_start: Literal["creation", "beginning"] = "creation"
    """Whether a new stream begins with the messages that are created after it, or with the first one of its
    dataset. A guess, without evidence: reset a stream after creating it."""
    old_continuation: Literal["rewind", "ignore", 400, 409, 422] = "rewind"
    """Advancing a stream to where it has been already: it goes back, stays where it is, or answers an error of this
    status. A guess, without evidence."""
    stream_results: Annotated[int, Field(ge=1)] = 64
    """Results that a stream gives when the request names no max_results. A guess, without evidence."""
    max_stream_results: Annotated[int, Field(ge=1)] = 1024
    """Greatest max_results and max_filtered of a stream; more is 400. A fact for the older fetch, from the vendor's
    contract of 2025; a guess for results."""
