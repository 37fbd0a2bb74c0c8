"""Everything that the service says as JSON: the API sends these, the client reads them."""

from normlab.records.catalogue import (
    DatasetRecord,
    DeviceRecord,
    DiagnosticKindRecord,
    ModelRecord,
    NormalizerRecord,
    WorkerRecord,
)
from normlab.records.findings import (
    ArtifactRecord,
    DiagnosticRecord,
    LastValue,
    LogPage,
    SeriesRecord,
)
from normlab.records.jobs import (
    ENDED,
    AttemptRecord,
    EventRecord,
    JobCreated,
    JobDetail,
    JobError,
    JobPage,
    JobRecord,
    JobState,
    Validation,
    Verdict,
)
from normlab.records.results import (
    ComparisonRow,
    ComparisonTable,
    ResultRow,
    ResultTable,
)
from normlab.records.studies import (
    CellRecord,
    Refusal,
    StudyDetail,
    StudyPage,
    StudyPreview,
    StudyRecord,
)

__all__ = [
    "ENDED",
    "ArtifactRecord",
    "AttemptRecord",
    "CellRecord",
    "ComparisonRow",
    "ComparisonTable",
    "DatasetRecord",
    "DeviceRecord",
    "DiagnosticKindRecord",
    "DiagnosticRecord",
    "EventRecord",
    "JobCreated",
    "JobDetail",
    "JobError",
    "JobPage",
    "JobRecord",
    "JobState",
    "LastValue",
    "LogPage",
    "ModelRecord",
    "NormalizerRecord",
    "Refusal",
    "ResultRow",
    "ResultTable",
    "SeriesRecord",
    "StudyDetail",
    "StudyPage",
    "StudyPreview",
    "StudyRecord",
    "Validation",
    "Verdict",
    "WorkerRecord",
]
