"""The training loop of one job."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Callable, ContextManager, Dict, List, Optional, Sequence

import torch

from normlab.data.augmenting import augmenting_of, mixed_seed
from normlab.data.batches import EpochBatches
from normlab.data.opening import opened
from normlab.data.training_data import TrainingData
from normlab.errors import InvalidSpec, JobDrained, JobStopped
from normlab.events import Progress, Started
from normlab.host.provenance import provenance
from normlab.nets import build
from normlab.norms.conversion_report import ConversionReport
from normlab.specs.job_rules import admit
from normlab.specs.jobs import JobSpec
from normlab.specs.sizes import task_of, total_steps
from normlab.training.accelerator import Accelerator, Session
from normlab.training.checkpoints import CheckpointFolder
from normlab.training.clock import Clock
from normlab.training.diagnosis import Diagnosis
from normlab.training.evaluation import evaluate
from normlab.training.norm_control import EpochNorms, Steer, steering
from normlab.training.optimizers import scaled_rate
from normlab.training.overflows import Overflows
from normlab.training.replicas import SAVE, STOP, Alone, Replicas, rows_of
from normlab.training.reporting import Reporter
from normlab.training.schedules import factor
from normlab.training.starting import start_from
from normlab.training.step_results import StepResults
from normlab.training.weights import SIZES, write_weights

StopRequest = Callable[[], Optional[JobStopped]]
Opener = Callable[[JobSpec, Path, StopRequest], ContextManager[TrainingData]]
_AT_EPOCHS = 0.1  # share of every_s; a shorter epoch would cost less than its checkpoint


def fit(
    spec: JobSpec,
    accelerator: Accelerator,
    reporter: Reporter,
    checkpoints: CheckpointFolder,
    data_root: Path,
    should_stop: StopRequest,
    replicas: Optional[Replicas] = None,
    norms: Optional[Sequence[EpochNorms]] = None,
    weights: Optional[Path] = None,
    open_data: Opener = opened,
) -> Dict[str, Any]:
    """
    Train as *spec* says, and return the summary: final metrics, size and speed.

    Resumes from the newest checkpoint that *checkpoints* names; on a CPU the resumed training
    ends with the same numbers, bit for bit, as one that was never interrupted. Seeds torch's
    global random numbers.

    Args:
        should_stop: called before each update; if it returns an error, a checkpoint is
            written and the error raised.
        replicas: this process among others that train the same spec, each with its own model; None
            if *accelerator* holds all replicas.
        norms: the records of the job `optimizer.norms_of`, one entry per epoch.
        weights: the file that `init_from` names.
        open_data: opens the data, for several trainings with the same data.

    Raises:
        InvalidSpec: the spec breaks a rule about several of its fields.
        JobError: the reason for an early end, as its class.
    """
    if spec.epochs == 0:
        reporter.event(Started(step=0, environment={**_environment(accelerator), **provenance()}))
        return {"parameters": 0, "epochs": 0, "steps": 0, "seconds": 0.0}
    admit(spec, data_root)
    torch.manual_seed(spec.seed)
    made: List[Any] = []  # reports on exchanged and loaded parts
    with ExitStack() as stack:
        data = stack.enter_context(open_data(spec, data_root, should_stop))
        sizes = (data.channels, data.num_classes, data.image_size)
        task = task_of(spec).name
        model = build(spec.model, spec.normalizer, *sizes, made.append, task, data_root)
        beginning = start_from(model, spec, data, weights)
        session = stack.enter_context(accelerator.session(model, spec))
        placed = data.placed(session.place)
        training = Training(spec, session, placed, reporter, checkpoints, replicas or Alone())
        training.steer = steering(session, spec, norms)
        training.resume()
        environment = {
            **_environment(accelerator),
            "threads": training.threads,
            "loading": data.loading,
            **beginning,
            **_told(made),
            **_broken(training, data),
        }
        started = {**environment, **provenance()}
        reporter.event(Started(step=training.step, environment=started))
        training.run(should_stop)
        final = session.weights()
        if training.leads:
            last, said = training.results.last, dict(zip(SIZES, sizes))
            reporter.event(write_weights(final, spec, checkpoints.folder, last, said))
    parameters = sum(p.numel() for p in model.parameters())
    return {"parameters": parameters, **training.summary(), **environment}


def _broken(training: Training, data: TrainingData) -> Dict[str, int]:
    """Print the samples that could not be read, and return their number for the record."""
    if not data.broken:
        return {}
    print(*data.broken, sep="\n", flush=True)
    if training.step == 0:
        training.results.report("data/broken", 0, len(data.broken))
    return {"broken_samples": len(data.broken)}


def _told(made: Sequence[Any]) -> Dict[str, str]:
    """Print which parts of a network were exchanged and loaded, and return this for the record."""
    for report in made:
        print(report, flush=True)
    return {
        "conversion" if isinstance(report, ConversionReport) else "weights": str(report)
        for report in made
    }


def _environment(accelerator: Accelerator) -> Dict[str, Any]:
    probe = accelerator.probe()
    return {
        "device": accelerator.kind,
        "runtime": accelerator.runtime,
        "timing_valid": accelerator.timing_valid,
        "description": probe.description,
        "versions": probe.versions,
        **probe.facts,
    }


class Training:
    """A running training: its progress, and how it continues."""

    def __init__(
        self,
        spec: JobSpec,
        session: Session,
        data: TrainingData,
        reporter: Reporter,
        checkpoints: CheckpointFolder,
        replicas: Replicas,
    ) -> None:
        self.spec = spec
        self.session = session
        self.data = data
        self.reporter = reporter
        self.checkpoints = checkpoints
        self.replicas = replicas
        self.leads = replicas.rank == 0
        self.results = StepResults(reporter, task_of(spec).counts)
        self.clock = Clock()
        self.overflows = Overflows(session)
        self.step = 0  # updates done
        self.steps_per_epoch = data.train_size // spec.samples_per_update
        self.steps = total_steps(spec, self.steps_per_epoch) or 0
        self.diagnosis = Diagnosis(spec, session, data, reporter, self.steps_per_epoch)
        self.rate = scaled_rate(spec.optimizer, spec.samples_per_update).learning_rate
        self.steer: Steer = lambda epoch: None
        self.drops = spec.model.drops
        self.augmenting = augmenting_of(spec, data)
        self.threads = torch.get_num_threads()
        self._saved_step = -1
        self._saved_at = time.monotonic()
        self._stop: Optional[JobStopped] = None
        if self.steps == 0:
            raise InvalidSpec(
                f"batch_size: {spec.samples_per_update} samples per update, but there are "
                f"{data.train_size} training samples; lower it"
            )

    def resume(self) -> None:
        """Resume from the newest checkpoint, if there is one, with as many threads as before."""
        state = self.checkpoints.load()
        # a checkpoint of an older version was written with all threads
        recorded = None if state is None else state.get("threads", self.threads)
        self.threads = self._settle_threads(recorded)
        if state is None:
            return
        self.session.load_state_dict(state["session"])
        self.results.load_state_dict(state["ledger"])
        self.clock.load_state_dict(state["clock"])
        self.overflows.load_state_dict(state.get("overflows", 0))  # older checkpoints have none
        self.diagnosis.load_state_dict(state["watch"])
        torch.set_rng_state(state["random"])
        self.step = self._saved_step = state["step"]

    def _settle_threads(self, recorded: Optional[int]) -> int:
        x, y = self.data.first("train", self.spec.batch_size)
        return self.session.settle_threads(recorded, x, y, self.steps)

    def run(self, should_stop: StopRequest) -> None:
        """Make the remaining updates."""
        while self.step < self.steps:
            epoch = self.step // self.steps_per_epoch
            batches = self._batches(epoch)
            last = min(self.steps, (epoch + 1) * self.steps_per_epoch)
            for number in range(self.step + 1, last + 1):
                self._pause(should_stop)
                self._update(batches, number)
            self._end_epoch(epoch + 1, batches)

    def summary(self) -> Dict[str, Any]:
        """Return the newest value of each metric, and the total time."""
        samples = self.step * self.spec.samples_per_update
        return {
            **self.results.last,
            "epochs": self.spec.epochs,
            "steps": self.step,
            "seconds": self.clock.seconds,
            "images_per_s": samples / self.clock.training_s,
        }

    def _batches(self, epoch: int) -> EpochBatches:
        rows = rows_of(self.replicas.rank, self.spec) if self.replicas.count > 1 else None
        return EpochBatches(
            self.data,
            self.spec.samples_per_update,
            self.augmenting,
            self.spec.seed,
            epoch,
            self.session.place,
            rows,
            self.steps,
        )

    def _update(self, batches: EpochBatches, number: int) -> None:
        learning_rate = self._learning_rate(number)
        with self.clock.training():
            self.session.prepare(learning_rate, (number - 1) / self.steps)
            if self.drops:  # so that masks need no state in a checkpoint
                torch.manual_seed(mixed_seed(self.spec.seed, number, self.replicas.rank))
            x, y = batches[(number - 1) % self.steps_per_epoch]
            self.steer((number - 1) // self.steps_per_epoch)
            result = self.session.train(x, y)
            self.step = number
            drained = self.leads and self.results.add(number, result, learning_rate)
        self.diagnosis.after_update(number, learning_rate, batches)
        # report the end of an epoch after its metrics, so that nobody sees those of another epoch
        if drained and number % self.steps_per_epoch and number < self.steps:
            self._report_progress()

    def _learning_rate(self, number: int) -> float:
        return self.rate * factor(self.spec.schedule, number, self.steps, self.steps_per_epoch)

    def _end_epoch(self, epochs_done: int, batches: EpochBatches) -> None:
        with self.clock.training(steps=0):
            self.results.drain()  # waits for the device
        self.results.end_epoch(self.step)
        self.overflows.end_epoch(self.results, self.step)
        self._report_speed()
        if epochs_done % self.spec.evaluate_every == 0 or self.step == self.steps:
            self._evaluate()
        self.diagnosis.after_epoch(self.step, self._learning_rate(self.step), batches)
        if self.step == self.steps:
            self.diagnosis.at_end(self.step, self._learning_rate(self.step), batches)
        self._report_progress()
        if self.step == self.steps or self.replicas.agree(self._is_worth_saving):
            self._save()

    def _is_worth_saving(self) -> int:
        return SAVE if self._unsaved_s() >= _AT_EPOCHS * self.spec.checkpoint.every_s else 0

    def _evaluate(self) -> None:
        self.session.prepare(self.rate, self.step / self.steps)
        if not self.leads and not self.replicas.sharded:
            return  # the other replicas wait in the next update
        found = evaluate(self.session, self.data, self.spec)
        if self.leads:
            for name, value in found.items():
                self.results.report(name, self.step, value)

    def _report_speed(self) -> None:
        seconds, steps = self.clock.end_epoch()
        self.results.report("time/epoch_s", self.step, seconds)
        images_per_s = steps * self.spec.samples_per_update / seconds
        self.results.report("train/images_per_s", self.step, images_per_s)
        memory = self.session.memory_peak_bytes()
        if memory is not None:
            self.results.report("device/memory_peak_bytes", self.step, memory)

    def _report_progress(self) -> None:
        epoch = self.step // self.steps_per_epoch
        self.reporter.event(
            Progress(step=self.step, steps=self.steps, epoch=epoch, epochs=self.spec.epochs)
        )

    def _pause(self, should_stop: StopRequest) -> None:
        decision = self.replicas.agree(lambda: self._decide(should_stop))
        if decision == STOP:
            self._save()
            raise self._stop or should_stop() or JobDrained("the first replica was asked to stop")
        every = self.spec.checkpoint.every_steps
        due = every is not None and self.step % every == 0 and self.step > 0
        if due or decision == SAVE:
            self._save()

    def _decide(self, should_stop: StopRequest) -> int:
        self._stop = should_stop()
        if self._stop is not None:
            return STOP
        return SAVE if self._unsaved_s() >= self.spec.checkpoint.every_s else 0

    def _unsaved_s(self) -> float:
        return time.monotonic() - self._saved_at

    def _save(self) -> None:
        if self.step == self._saved_step:
            return
        self.results.drain()
        self.reporter.flush()  # a recorded checkpoint implies that every metric up to it is stored
        state = {
            "step": self.step,
            "threads": self.threads,
            "session": self.session.state_dict(),
            "ledger": self.results.state_dict(),
            "clock": self.clock.state_dict(),
            "overflows": self.overflows.state_dict(),
            "watch": self.diagnosis.state_dict(),
            "random": torch.get_rng_state(),
        }
        if self.leads:
            self.reporter.event(self.checkpoints.write(self.step, state))
        self._saved_step = self.step
        self._saved_at = time.monotonic()
