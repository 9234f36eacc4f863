"""Where the runs of a race are trained: by processes of this machine, or by an engine that reaches others."""

import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

from annotated_doc import Doc

from rnnbptt.errors import UserError, check_option
from rnnbptt.study.race.sharing import FinishAll

PLACES = ("processes", "ray", "slurm")


@dataclass(frozen=True)
class Where:
    """By whom the runs are trained."""

    workers: Annotated[int, Doc("Runs at a time, of one thread each; 0: one a core (slurm: all at once).")] = 0
    on: Annotated[str, Doc("Where runs are trained: processes (of this machine), ray or slurm.")] = "processes"
    address: Annotated[str, Doc("Of a Ray cluster, instead of one started here.")] = ""

    def __post_init__(self) -> None:
        check_option(self.on in PLACES, "on", self.on, f"unknown; give one of {', '.join(PLACES)}")

    @property
    def options(self) -> str:
        """As they are typed, each after a space, so that a race goes on there; none for processes."""
        on = f" --on {self.on}" if self.on != "processes" else ""
        return on + (f" --address {shlex.quote(self.address)}" if self.address else "")

    def finisher(self, folder: Path) -> FinishAll | None:
        """What finishes the runs of the race in the folder; None: processes do.

        UserError where the engine is not installed or cannot be reached.
        """
        if self.on == "processes":
            return None
        try:
            if self.on == "ray":
                from rnnbptt.study.race import on_ray
            else:
                from rnnbptt.study.race import on_slurm
        except ImportError:
            raise UserError(f"--on {self.on}: not installed; type: pip install 'rnnbptt[{self.on}]'") from None
        if self.on == "ray":
            if self.address:
                on_ray.check_address(self.address)
            return partial(on_ray.finish_all, folder=folder, address=self.address)
        on_slurm.check_slurm()
        return partial(on_slurm.finish_all, folder=folder)
