"""All records that the service sends as JSON, and that the client reads."""

from normlab.records.catalogue import (
    DatasetRecord as DatasetRecord,
    DeviceRecord as DeviceRecord,
    DiagnosticKindRecord as DiagnosticKindRecord,
    ModelRecord as ModelRecord,
    NormalizerRecord as NormalizerRecord,
    PartRecord as PartRecord,
    WorkerRecord as WorkerRecord,
)
from normlab.records.findings import (
    ArtifactRecord as ArtifactRecord,
    DiagnosticRecord as DiagnosticRecord,
    LastValue as LastValue,
    LogPage as LogPage,
    SeriesRecord as SeriesRecord,
)
from normlab.records.inside import (
    InsideRecord as InsideRecord,
    LayerRecord as LayerRecord,
    MatrixRecord as MatrixRecord,
    NetworkRecord as NetworkRecord,
    SampleRecord as SampleRecord,
)
from normlab.records.jobs import (
    ENDED as ENDED,
    AttemptRecord as AttemptRecord,
    ErrorRecord as ErrorRecord,
    EventRecord as EventRecord,
    HostRecord as HostRecord,
    JobCreated as JobCreated,
    JobDetail as JobDetail,
    JobPage as JobPage,
    JobRecord as JobRecord,
    JobState as JobState,
    UnderWay as UnderWay,
    Validation as Validation,
    Verdict as Verdict,
)
from normlab.records.results import (
    ComparisonRow as ComparisonRow,
    ComparisonTable as ComparisonTable,
    DifferenceRow as DifferenceRow,
    DifferenceTable as DifferenceTable,
    ResultRow as ResultRow,
    ResultTable as ResultTable,
)
from normlab.records.studies import (
    CellPage as CellPage,
    CellRecord as CellRecord,
    DecisionCost as DecisionCost,
    Refusal as Refusal,
    SearchHistory as SearchHistory,
    StudyDetail as StudyDetail,
    StudyPage as StudyPage,
    StudyPreview as StudyPreview,
    StudyRecord as StudyRecord,
    TrialRecord as TrialRecord,
)
