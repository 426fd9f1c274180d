"""All that is wrong with a manifest, told at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from core.errors import InputError, WorldKVError
from trajectories.errors import TrajectoryError


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong.

    Attributes:
        problem: What, with the offending value.
        where: Place in the manifest, or the file at fault.
        hint: How to mend it; empty if nothing useful can be said.
        exit_code: 2 bad input, 3 over budget, 4 model files.
        jobs: Names of the jobs that it concerns; none if it is not about single jobs.
    """

    problem: str
    where: str = ""
    hint: str = ""
    exit_code: int = 2
    jobs: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: WorldKVError | TrajectoryError, where: str = "", job: str = "") -> Problem:
        """An error as a problem, of a job if one is named."""
        place = error.where if where in ("", error.where) else f"{where}: {error.where}".removesuffix(": ")
        jobs = (job,) if job else ()
        return cls(error.problem, place, error.hint, error.exit_code, jobs)


class ManifestError(InputError):
    """A manifest that cannot be run.

    Args:
        problems: Everything that is wrong, at least one thing, in the order of the text.
    """

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        first = self.problems[0]
        super().__init__(first.problem, where=first.where, hint=first.hint)


class Problems:
    """Collects what is wrong; the same thing in many jobs is one problem."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, str, int], Problem] = {}

    def __iter__(self) -> Iterator[Problem]:
        return iter(self._found.values())

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, problem: Problem) -> None:
        """Note a problem."""
        key = (problem.problem, problem.where, problem.hint, problem.exit_code)
        known = self._found.get(key)
        self._found[key] = problem if known is None else replace(known, jobs=known.jobs + problem.jobs)

    def say(self, problem: str, where: str, hint: str = "") -> None:
        """Note a problem of the manifest's text."""
        self.add(Problem(problem, where, hint))

    @contextmanager
    def collecting(self, where: str = "", job: str = "") -> Iterator[None]:
        """Note the user's errors that are raised inside instead of passing them on."""
        try:
            yield
        except ManifestError as error:
            for problem in error.problems:
                self.add(problem)
        except (WorldKVError, TrajectoryError) as error:
            self.add(Problem.of(error, where, job))

    def refuse(self) -> None:
        """Raise if there were any.

        Raises:
            ManifestError: There were.
        """
        if self._found:
            raise ManifestError(self)
