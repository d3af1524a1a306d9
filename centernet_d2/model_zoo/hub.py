"""Models at the Hugging Face Hub: pushed with a card, fetched by name.

HF_ENDPOINT names another server that speaks the same; it may need HF_HUB_DISABLE_XET=1 beside it.
HF_TOKEN, or `hf auth login`, says who pushes.
"""

import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..checkpoint.download import DownloadError, unreachable
from ..checkpoint.files import cache_dir, read_tensors, write_weights
from ..checkpoint.model_info import ModelInfo, for_use
from ..checkpoint.published import detectron2_form
from ..missing import needed_by
from .model_card import Scores, model_card

HUB = "hub:"  # before the names of MODEL.WEIGHTS
FILE, ADDRESS = "model.safetensors", "https://huggingface.co"


def push_to_hub(
    weights: str | os.PathLike[str],
    repo_id: str,
    *,
    licence: str,
    data: str,
    scores: Scores | None = None,
    private: bool = False,
    token: str | None = None,
    endpoint: str | None = None,
) -> str:
    """Write a model, with its config, and a card into a repository; return the commit's address.

    Args:
        weights: a file that carries its config, as a training or `centernet-d2 convert` writes it.
        repo_id: "user/name", made where it is not there.
        licence: of the weights, an SPDX identifier such as "Apache-2.0", or a name.
        data: what it was trained on, in words.
        scores: task -> metric -> percent, by the test protocol in the file; None: see
            `results_beside`.
        private: a new repository is seen by its owner alone.
        token: None: the one that huggingface_hub knows.
        endpoint: address of the server; None: $HF_ENDPOINT, else the Hub.

    Raises:
        ImportError: huggingface_hub is not installed.
        ValueError: the file carries no config, or licence or data are empty.
        DownloadError: the server refuses, or cannot be reached.
    """
    library = _library()
    if repo_id.count("/") != 1:
        raise ValueError(f"'{repo_id}' is no repository: write user/name.")
    content = for_use(detectron2_form(read_tensors(weights), os.fspath(weights)))
    info = ModelInfo.of(content, os.fspath(weights))
    scores = results_beside(Path(weights)) if scores is None else scores
    card = model_card(info, repo_id, licence=licence.strip(), data=data.strip(), scores=scores)
    api = library.HfApi(endpoint=endpoint or os.environ.get("HF_ENDPOINT"), token=token)
    with tempfile.TemporaryDirectory() as folder, _explained(f"'{repo_id}' was not pushed"):
        write_weights(Path(folder, FILE), content)
        Path(folder, "README.md").write_text(card, encoding="utf-8")
        api.create_repo(repo_id, private=private, exist_ok=True)
        message = f"Model of centernet_d2 {info.version}"
        commit = api.upload_folder(repo_id=repo_id, folder_path=folder, commit_message=message)
    return str(commit.commit_url)


def from_hub(name: str, *, token: str | None = None, endpoint: str | None = None) -> Path:
    """Fetch the model file of a repository, or take it from the cache where it is unchanged.

    Args:
        name: "user/name" or "user/name@revision" (a branch, a tag, a commit); "hub:" may precede.
        token: see `push_to_hub`.
        endpoint: see `push_to_hub`.

    Raises:
        ImportError, DownloadError: see `push_to_hub`; or there is no such model.
    """
    name = name.removeprefix(HUB)
    repo_id, _, revision = name.partition("@")
    given = {"revision": revision or None, "cache_dir": cache_dir() / "hub", "token": token}
    return hub_file(f"{HUB}{name}", repo_id, FILE, endpoint=endpoint, **given)


def hub_file(name: str, repo: str, file: str, *, endpoint: str | None = None, **given: Any) -> Path:
    """Fetch a file of a repository; errors call it `name`, `given` goes to `hf_hub_download`.

    Without a network that of the cache is taken at once: the library tries for half a minute.
    """
    library, endpoint = _library(), endpoint or os.environ.get("HF_ENDPOINT")
    if problem := unreachable(endpoint or ADDRESS):
        problem = f" ({problem}; copy the file here and name it in MODEL.WEIGHTS)"
    given |= {"endpoint": endpoint, "local_files_only": bool(problem)}
    with _explained(f"'{name}' could not be fetched{problem}"):
        return Path(library.hf_hub_download(repo, file, **given))


def results_beside(weights: Path) -> Scores:
    """What results.json beside a model_final file says: those are its own; of other files {}."""
    file = weights.with_name("results.json")
    if weights.stem != "model_final" or not file.is_file():
        return {}
    scores: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return {task: metrics for task, metrics in scores.items() if isinstance(metrics, Mapping)}


def _library() -> Any:
    with needed_by("A model at the Hugging Face Hub"):
        import huggingface_hub
        from huggingface_hub.utils.tqdm import disable_progress_bars
    if not sys.stderr.isatty():  # its bars would go into a pipe or a log
        disable_progress_bars()
    return huggingface_hub


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Say in one sentence what the library raises, whose errors are of a dozen kinds."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.startswith("centernet_d2."):
            raise
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = " ".join(lines[:3]).rstrip(".") or type(error).__name__
        raise DownloadError(
            f"{what}: {told}. Check the name, the connection and, of a private repository or to "
            "write, the token (`hf auth login` or HF_TOKEN)."
        ) from error
