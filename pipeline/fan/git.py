"""Git commands of a fan-out."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from distill.errors import UserError

#: Author of the commits that a fan-out makes in its own clones.
_AUTHOR = ("-c", "user.name=fan", "-c", "user.email=fan@localhost", "-c", "commit.gpgsign=false")
BRANCH = "fan"


def git(folder: Path, *words: str, env: dict[str, str] | None = None) -> str:
    """What Git prints.

    Raises:
        UserError: Git fails.
    """
    done = subprocess.run(
        ["git", *_AUTHOR, *words],
        cwd=folder,
        env=os.environ | (env or {}),
        encoding="utf-8",
        capture_output=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise UserError(f"git {words[0]}: {reason}: run from the root of a repository with a commit")
    return done.stdout.strip()


def snapshot(root: Path, index: Path) -> str:
    """A commit of the workspace as it is, new and changed files included, that no branch knows; returns its hash.

    The workspace's index and branches stay as they are.

    Args:
        root: of the repository.
        index: a file that Git may use meanwhile.
    """
    index.parent.mkdir(parents=True, exist_ok=True)
    env = {"GIT_INDEX_FILE": str(index.absolute())}
    try:
        git(root, "read-tree", "HEAD", env=env)
        git(root, "add", "--all", env=env)
        tree = git(root, "write-tree", env=env)
    finally:
        index.unlink(missing_ok=True)
    return git(root, "commit-tree", tree, "-p", "HEAD", "-m", "The workspace as it was fanned out")


def clone(source: Path, target: Path, commit: str) -> None:
    """A clone of a repository of this machine at a commit that need not be on a branch."""
    git(source, "clone", "--quiet", "--shared", "--no-checkout", str(source), str(target))
    git(target, "checkout", "--quiet", "-B", BRANCH, commit)


def commit_all(folder: Path, message: str) -> None:
    """Commits all files of a clone that are not ignored."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--allow-empty", "--no-verify", "--message", message)


def content(folder: Path, without: tuple[str, ...]) -> str:
    """Hash of the files that a clone's last commit has, but for some files and folders."""
    files = git(folder, "ls-tree", "-r", "HEAD").splitlines()
    kept = [line for line in files if not line.partition("\t")[2].startswith(without)]
    done = subprocess.run(
        ["git", "hash-object", "--stdin"],
        cwd=folder,
        input="\n".join(kept),
        encoding="utf-8",
        capture_output=True,
        check=True,
    )
    return done.stdout.strip()[:12]


def bundle(folder: Path, file: Path) -> None:
    """Writes a clone's branch with its history into one file, from which others clone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    git(folder, "bundle", "create", "--quiet", str(file.absolute()), BRANCH)


def update(folder: Path, file: Path) -> None:
    """Brings a clone to the commit of a bundle; files that Git does not know stay."""
    git(folder, "fetch", "--quiet", "--force", str(file.absolute()), BRANCH)
    git(folder, "checkout", "--quiet", "--force", "--detach", "FETCH_HEAD")
