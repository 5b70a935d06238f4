"""OGC API - Processes by pygeoapi: the process as its plugin, and its jobs with progress, at an end when dismissed.

In the configuration of pygeoapi `Processor` is the processor of a process, with the options of `Service` beside its
name, and `Manager` the server's job manager; examples/platforms.md has both. pygeoapi asks nobody who they are.
"""

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import IO, Any

from pygeoapi.process.base import BaseProcessor, ProcessorExecuteError
from pygeoapi.process.manager.tinydb_ import TinyDBManager
from pygeoapi.util import JobStatus, get_current_datetime

from spaceeye_stac.errors import SpaceEyeError, UserError
from spaceeye_stac.platforms.description import process_description
from spaceeye_stac.platforms.service import Service
from spaceeye_stac.platforms.service_jobs import ServiceJob, at_work
from spaceeye_stac.platforms.service_requests import checked_request, offered_inputs
from spaceeye_stac.query import Json

LEFT_BEHIND = "The server was stopped while the job was at work; ask for it again."
RESTART_SECONDS = 2.0  # in which a job notices that its server is gone
SYNCHRONOUS, ASYNCHRONOUS = "sync-execute", "async-execute"


class RequestError(ProcessorExecuteError):  # type: ignore[misc] # pygeoapi has no types
    """What whoever sent a request can mend: 400."""

    http_status_code = HTTPStatus.BAD_REQUEST
    ogc_exception_code = "InvalidParameterValue"


class BusyError(ProcessorExecuteError):  # type: ignore[misc]
    """Too many jobs wait already: 503."""

    http_status_code = HTTPStatus.SERVICE_UNAVAILABLE


class Processor(BaseProcessor):  # type: ignore[misc]
    """The process for pygeoapi: takes what `checked_request` does, gives the collection or where it was published."""

    def __init__(self, processor_def: Json) -> None:
        self.service = Service.of(processor_def)
        super().__init__(processor_def, process_metadata(self.service))
        self.report: Callable[[int, str], None] = lambda _percent, _stage: None
        self._job: ServiceJob | None = None
        self._lock: IO[str] | None = None

    def job(self, job_id: str) -> ServiceJob:
        """A job of this process."""
        return ServiceJob(self.service.work, job_id)

    def set_job_id(self, job_id: str) -> None:
        """Hold the folder of the job, so that whoever sees its record sees that it is alive."""
        self._job = self.job(job_id)
        self._lock = self._job.acquired()

    def check(self, data: object) -> None:
        """Refuse a request before there is a job of it; RequestError and BusyError."""
        limits = self.service.limits
        if at_work(self.service) >= limits.jobs + limits.waiting:
            raise BusyError(user_msg=f"{limits.waiting} jobs wait already; ask again later.")
        try:
            checked_request(data, self.service)
        except UserError as error:
            raise RequestError(user_msg=str(error)) from error

    def execute(self, data: Json, outputs: object = None) -> tuple[str, Json]:
        """Run it; gives the result and its media type. Raises RequestError and ProcessorExecuteError."""
        del outputs  # there is one
        if self._job is None or self._lock is None:
            raise ProcessorExecuteError(user_msg="The job manager of this server gives jobs no name.")
        with self._job.held(self._lock):
            try:
                request = checked_request(data, self.service)
                found = self._job.run(request, self.service, self._lock, self.report)
            except UserError as error:
                raise RequestError(user_msg=str(error)) from error
            except SpaceEyeError as error:
                raise ProcessorExecuteError(user_msg=str(error)) from error
        return "application/json", found


class Manager(TinyDBManager):  # type: ignore[misc]
    """pygeoapi's TinyDB manager, which besides knows how far a job of ours is and can end it."""

    def __init__(self, manager_def: Json) -> None:
        super().__init__(manager_def)
        self._clear_up()

    def execute_process(self, process_id: str, data_dict: Json, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        """Check a request for a process of ours, so that a bad one is an answer and never a job."""
        processor = self._ours(process_id)
        if processor is not None:
            processor.check(data_dict)
            if options.get("subscriber") is not None:  # to whose addresses pygeoapi would send what they say
                raise RequestError(user_msg="subscriber is not supported; ask for the status of the job.")
        return super().execute_process(process_id, data_dict, *arguments, **options)

    def _execute_handler_sync(self, p: BaseProcessor, job_id: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        if isinstance(p, Processor):
            p.report = lambda percent, stage: self._update(job_id, JobStatus.running, stage, progress=percent)
        return super()._execute_handler_sync(p, job_id, *arguments, **options)

    def delete_job(self, job_id: str) -> bool:
        """Dismiss a job: end it if it is at work, and remove its record and its result by value."""
        processor = self._ours(self.get_job(job_id)["process_id"])
        if processor is not None and not processor.job(job_id).cancel(processor.service):
            return False
        return bool(super().delete_job(job_id))

    def _ours(self, process_id: str) -> Processor | None:
        """The processor of a process, where it is ours."""
        found = self.get_processor(process_id) if process_id in self.processes else None
        return found if isinstance(found, Processor) else None

    def _clear_up(self) -> None:
        """Fail the jobs that a server left behind that was stopped; those of others that run stay."""
        end = time.monotonic() + RESTART_SECONDS
        for record in self.get_jobs()["jobs"]:
            processor = self._ours(record["process_id"])
            if record["status"] not in {"accepted", "running"} or processor is None:
                continue
            job = processor.job(record["identifier"])
            if job.ended(max(0.0, end - time.monotonic())):
                job.discard(processor.service)
                self._update(job.name, JobStatus.failed, LEFT_BEHIND, finished=get_current_datetime())

    def _update(self, job_id: str, status: JobStatus, message: str, **more: object) -> None:
        told = {"updated": get_current_datetime(), "status": status.value, "message": message}
        self.update_job(job_id, told | more)


def process_metadata(service: Service) -> Json:
    """The description of the process as pygeoapi has it, of the inputs that this server takes."""
    described = process_description()
    required = described["inputs"]["required"]
    return {
        **{name: described[name] for name in ("id", "version", "title", "description")},
        "keywords": ["STAC", "Sentinel-2", "cloud removal"],
        "links": [],
        "jobControlOptions": [SYNCHRONOUS, ASYNCHRONOUS],
        "inputs": {name: _input(schema, name in required) for name, schema in offered_inputs(service).items()},
        "outputs": {name: _described(schema) for name, schema in described["outputs"]["properties"].items()},
        "example": {
            "inputs": {"catalog": "earth-search", "bbox": [4.6, 51.0, 4.7, 51.1], "datetime": "2024-05-01/2024-05-31"}
        },
    }


def _input(schema: Json, required: bool) -> Json:  # noqa: FBT001 - as pygeoapi has it
    return {**_described(schema), "minOccurs": int(required), "maxOccurs": 1}


def _described(schema: Json) -> Json:
    """A JSON Schema with its texts apart."""
    texts = {name: schema[name] for name in ("title", "description")}
    return texts | {"schema": {name: value for name, value in schema.items() if name not in texts}}
