"""What goes wrong between us and the hub, in words with a cure."""

from __future__ import annotations

from typing import Any, Final

from core.errors import InputError, ModelFilesError, OutputError, WorldKVError

RESUMES: Final = "the next call goes on where this one stopped"
_TRANSIENT: Final = (408, 425, 429, 500, 502, 503, 504)


def need_hub() -> None:
    """Refuse where the library is not installed.

    Raises:
        ModelFilesError: It is not.
    """
    try:
        import huggingface_hub  # noqa: F401 - whether it is there is all that is asked
    except ImportError:
        raise ModelFilesError(
            "fetching models needs the package huggingface_hub",
            where="worldkv models pull",
            hint='pip install "worldkv[wan]"',
        ) from None


def hub_errors() -> tuple[type[Exception], ...]:
    """What a call of the library may raise on account of the hub or the network, or of this disk."""
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    # The HTTP library beneath has changed more than once; its errors are bases of the hub's own.
    return (*(_bases(HfHubHTTPError)), HFValidationError, OSError)


def is_transient(error: Exception) -> bool:
    """Whether the same request may well succeed in a moment."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    error = _inner(error)
    if isinstance(error, HfHubHTTPError):
        return _status(error) in _TRANSIENT
    return _is_network(error) and not isinstance(error, OfflineModeIsEnabled)


def explain(error: Exception, *, repo: str, endpoint: str, where: str = "") -> WorldKVError:
    """The error in our words.

    Args:
        error: One of `hub_errors`.
        repo: The repository that was asked.
        endpoint: Address of the hub.
        where: The file that was being written, for errors of the disk.
    """
    from huggingface_hub import errors

    error = _inner(error)
    url = f"{endpoint}/{repo}"
    if isinstance(error, errors.OfflineModeIsEnabled):
        hint = "unset HF_HUB_OFFLINE and TRANSFORMERS_OFFLINE"
        return ModelFilesError("the hub must not be asked: offline mode is on", where=url, hint=hint)
    if isinstance(error, errors.GatedRepoError):
        hint = f"accept the licence at {url}, then log in: hf auth login"
        return ModelFilesError(
            "the repository gives its files to registered users only", where=url, hint=hint
        )
    if isinstance(error, errors.RevisionNotFoundError):
        hint = f"its revisions: {url}/commits"
        return InputError(f"{repo} has no such revision", where="--revision", hint=hint)
    if isinstance(error, errors.HfHubHTTPError):
        return _of_status(error, repo=repo, endpoint=endpoint)
    if _is_network(error):
        return ModelFilesError(
            f"the hub cannot be reached: {first_line(error)}",
            where=url,
            hint=f"check the connection, the proxy and HF_ENDPOINT; {RESUMES}",
        )
    if isinstance(error, OSError):
        problem = f"the file cannot be written: {error.strerror or first_line(error)}"
        return OutputError(problem, where=where, hint=f"mend that or choose another --to; {RESUMES}")
    return ModelFilesError(f"the hub's library refuses: {first_line(error)}", where=url)


def _of_status(error: Any, *, repo: str, endpoint: str) -> ModelFilesError:  # noqa: ANN401 - its base varies
    status, url = _status(error), f"{endpoint}/{repo}"
    if status in (401, 403):
        return ModelFilesError(
            f"the hub refuses access to {repo}, or does not know it ({status})",
            where=url,
            hint=f"hf auth login, with a token that may read it; if asked, accept the licence at {url}",
        )
    if status == 404:
        return ModelFilesError(
            f"the hub does not know this repository or file ({status})",
            where=str(error.response.url),
            hint="check HF_ENDPOINT; a private repository shows itself only after: hf auth login",
        )
    if status == 429:
        hint = f"wait some minutes, or log in for a higher limit: hf auth login; {RESUMES}"
        return ModelFilesError("the hub asks to slow down (429)", where=url, hint=hint)
    return ModelFilesError(f"the hub fails ({status})", where=url, hint=f"try again later; {RESUMES}")


def _inner(error: Exception) -> Exception:
    """What is behind the library's "not in the cache either"."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return error.__cause__
    return error


def _is_network(error: Exception) -> bool:
    from huggingface_hub.errors import HfHubHTTPError

    network = tuple(kind for kind in _bases(HfHubHTTPError) if kind is not OSError)
    return isinstance(error, (*network, ConnectionError, TimeoutError))


def _bases(kind: type[Exception]) -> tuple[type[Exception], ...]:
    return tuple(base for base in kind.__mro__ if issubclass(base, Exception) and base is not Exception)


def _status(error: Any) -> int | None:  # noqa: ANN401 - its base varies
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def first_line(error: Exception) -> str:
    """The error in one line, as its library words it."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
