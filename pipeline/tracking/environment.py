"""What the software was when a run was made: git commit, Python, package versions. Knows nothing of patients or people."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "monai", "pytorch-ignite", "mlflow", "numpy", "nibabel", "pydicom", "SimpleITK", "scipy", "scikit-image")


def environment_tags() -> dict[str, str]:
    """Tags for a run; "mlflow.source.git.commit" is the name under which MLflow's page shows the commit.

    The commit is absent when the package does not lie in a git checkout; "git.changed" says whether it had uncommitted changes.
    """
    tags = {"python": platform.python_version(), "platform": platform.platform(), "mlflow.source.type": "LOCAL"}
    for name in PACKAGES:
        try:
            tags[f"package.{name}"] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    root = Path(__file__).resolve().parents[2]
    commit = _git(root, "rev-parse", "HEAD") if (root / ".git").exists() else ""
    if commit:
        tags["mlflow.source.git.commit"] = commit
        tags["git.changed"] = "yes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "no"
    return tags


def _git(root: Path, *words: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):  # no git here, or a network folder that does not answer
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
