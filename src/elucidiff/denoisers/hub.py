"""Model folders as the Hugging Face Hub has them: written, read and published under the names that people know.

The files are those of :meth:`.Denoiser.save`, model card included; ``huggingface_hub`` moves them. Its own mixin is
no base class here, since it takes a second to import and writes a ``config.json`` beside ``model.json``.
"""

from __future__ import annotations

import importlib
import os
import tempfile
from pathlib import Path
from typing import Any, Self

from elucidiff.denoisers import model_card, model_files


class HubModel:
    """``save_pretrained``, ``from_pretrained`` and ``push_to_hub`` of a model that is written as a folder."""

    def save(self, path: str | os.PathLike[str], *, weights_only: bool = False) -> None:
        """Write the model folder."""
        raise NotImplementedError

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *,
        push_to_hub: bool = False,
        repo_id: str | None = None,
        **options: Any,
    ) -> str | None:
        """Write the model folder, as ``save`` does, and publish it where ``push_to_hub`` is true.

        Args:
            save_directory: the folder.
            push_to_hub: whether to upload it.
            repo_id: where to, such as "name/model"; by default the folder's name.
            options: of :meth:`push_to_hub`.

        Returns:
            The address of the commit, or None if nothing was published.
        """
        self.save(save_directory)
        if not push_to_hub:
            return None
        return self._upload(Path(save_directory), repo_id or Path(save_directory).resolve().name, **options)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        token: str | bool | None = None,
        force_download: bool = False,
    ) -> Self:
        """Read a model folder, or one of the Hub. Nothing in it is run or unpickled.

        Args:
            pretrained_model_name_or_path: a folder on this machine, which wins; or "name/model" on the Hub.
            revision: branch, tag or commit on the Hub.
            cache_dir: where downloads are kept; by default where ``huggingface_hub`` keeps them.
            local_files_only: take what was downloaded before, and connect to nothing.
            token: of an account that may read it.
            force_download: download again what is there.

        Raises:
            FileNotFoundError: there is no such folder, nor such a model on the Hub, or it cannot be reached.
            ValueError: the model is damaged, or ``huggingface_hub`` is not installed.
        """
        folder = Path(pretrained_model_name_or_path)
        if not folder.is_dir():
            name = os.fspath(pretrained_model_name_or_path)
            hub = _hub(f"{name!r} is no folder, and models of the Hub")
            try:
                found = hub.snapshot_download(
                    name,
                    revision=revision,
                    cache_dir=cache_dir,
                    local_files_only=local_files_only,
                    token=token,
                    force_download=force_download,
                    allow_patterns=[*model_files.FILES, model_card.FILE],
                )
            except (OSError, ValueError) as error:  # of the connection, of the answer, of the name
                words = " ".join(str(error).split())[:300]
                raise FileNotFoundError(f"{name!r} is no folder, and not found on the Hub ({words})") from error
            folder = Path(found)
        # It builds denoisers, whose base this is, so it cannot be imported above.
        model = importlib.import_module("elucidiff.denoisers.model_folder").load(folder)
        if not isinstance(model, cls):
            raise ValueError(f"{folder} holds a {type(model).__name__}, not a {cls.__name__}")
        return model

    def push_to_hub(self, repo_id: str, **options: Any) -> str:
        """Publish the model on the Hub, with its card: a commit with all files of the folder.

        Args:
            repo_id: "name/model"; made if missing.
            options: ``private`` (False), ``token``, ``revision`` (a branch), ``commit_message``.

        Returns:
            The address of the commit.

        Raises:
            ValueError: the model cannot be written, or ``huggingface_hub`` is not installed.
            OSError: the Hub cannot be reached, or refuses.
        """
        _hub("publishing")
        with tempfile.TemporaryDirectory(prefix="elucidiff-") as folder:
            self.save(Path(folder) / "model")
            return self._upload(Path(folder) / "model", repo_id, **options)

    @staticmethod
    def _upload(
        folder: Path,
        repo_id: str,
        *,
        private: bool = False,
        token: str | bool | None = None,
        revision: str | None = None,
        commit_message: str = "A model of elucidiff",
    ) -> str:
        api = _hub("publishing").HfApi(token=token)
        made = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        if revision is not None:
            api.create_branch(made, branch=revision, exist_ok=True)
        commit = api.upload_folder(
            repo_id=made,
            folder_path=folder,
            revision=revision,
            commit_message=commit_message,
            allow_patterns=[*model_files.FILES, model_card.FILE],
        )
        return str(commit)


def _hub(what: str) -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError:
        raise ValueError(f"{what} need huggingface_hub: pip install 'elucidiff[hub]'") from None
