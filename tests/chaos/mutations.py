"""Ways to break the package on purpose, each a change of its source that the campaign must notice.

Nothing of them ships: a patch is applied to a copy of the package, and one whose text is not there exactly once fails
loudly, so that none can rot.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from .processes import REPO

PACKAGE = REPO / "python" / "mm_hybrid"


class PatchError(RuntimeError):
    """The text a patch replaces is not in the source exactly once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """One replacement in one file of the package."""

    file: str
    old: str
    new: str

    def apply(self, package: Path) -> None:
        """Change the file.

        Raises:
            PatchError: ``old`` is not there exactly once.
        """
        path = package / self.file
        source = path.read_text(encoding="utf-8")
        if (count := source.count(self.old)) != 1:
            raise PatchError(f"{self.file}: found {count} times, not once:\n{self.old}")
        path.write_text(source.replace(self.old, self.new), encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutation:
    """One promise taken out of the package.

    Attributes:
        name: what is taken out.
        patches: how.
        expected: invariants of which at least one must be broken.
        exchanges: where it makes a difference.
    """

    name: str
    patches: tuple[Patch, ...]
    expected: tuple[str, ...]
    exchanges: tuple[str, ...] = ("bybit", "bitget")


def patched(mutation: Mutation, folder: Path) -> Path:
    """Copy the package into a folder, break it there, and return the folder to put on the path.

    Raises:
        PatchError: the mutation does not fit the source any more.
    """
    copy = folder / "mm_hybrid"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
    for library in PACKAGE.glob("*.so"):
        (copy / library.name).symlink_to(library)
    for patch in mutation.patches:
        patch.apply(copy)
    return folder


NO_FSYNC = Mutation(
    name="fsync",
    patches=(
        Patch(
            file="journal/writer.py",
            old='connection.execute("PRAGMA synchronous = FULL")',
            new='connection.execute("PRAGMA synchronous = OFF")',
        ),
    ),
    expected=(),
)
"""Not for the campaign: a killed process loses nothing the kernel holds. :mod:`.write_order` sees it."""

MUTATIONS = (
    Mutation(
        name="journal-before-send",
        patches=(
            Patch(
                file="journal/store.py",
                old="        seqs = await self._writer.commit(rows)\n",
                new="        self._writer.put(rows)\n        seqs = [0] * len(rows)\n",
            ),
        ),
        expected=("I1", "I5"),
    ),
    Mutation(
        name="lookup-before-resend",
        patches=(
            Patch(
                file="execution/sender.py",
                old="        if verdict not in NOT_PLACED:\n            self._account.unknown(",
                new="        if False:\n            self._account.unknown(",
            ),
        ),
        expected=("I1", "I4"),
    ),
    Mutation(
        name="exec-id-dedupe",
        patches=(
            Patch(
                file="execution/orders.py",
                old="        if fill.exec_id in self._exec_ids:\n            return False\n",
                new="",
            ),
            Patch(
                file="execution/account.py",
                old=(
                    'already applied changes nothing."""\n'
                    "        if fill.exec_id in self.orders.exec_ids:\n            return\n"
                ),
                new='already applied changes nothing."""\n',
            ),
        ),
        expected=("I1", "I3", "I6"),
    ),
    Mutation(
        name="paging",
        patches=(
            Patch(
                file="execution/paging.py",
                old="        mark = None if following == mark else following\n",
                new="        mark = None\n",
            ),
        ),
        expected=("I1", "I3", "I6"),
    ),
    Mutation(
        name="tombstones",
        patches=(
            Patch(
                file="execution/executor.py",
                old='        self._account.end(record, OrderState.NOT_PLACED, message, source="lookup")\n',
                new=(
                    '        self._account.end(record, OrderState.NOT_PLACED, message, source="lookup")\n'
                    "        self._account.orders._ended.pop(record.client_id)\n"
                    "        self._account.orders._by_order.pop(record.order_id, None)\n"
                ),
            ),
        ),
        expected=("I1", "I6", "I7"),
    ),
    Mutation(
        name="window",
        patches=(
            Patch(
                file="execution/resolve.py",
                old="            if self._absent(record):\n",
                new="            if True:\n",
            ),
        ),
        expected=("I4", "I1", "I6"),
    ),
    Mutation(
        name="window-from-first-miss",
        patches=(
            Patch(
                file="execution/resolve.py",
                old="            if self._absent(record):\n",
                new="            if self._unseen_ns(record) >= round(self._config.window_s * NS_PER_S):\n",
            ),
        ),
        expected=("I4", "I1", "I6"),
        exchanges=(
            "bitget",
        ),  # A look-up on Bybit is two queries; that both are blind takes more runs than these.
    ),
    Mutation(
        name="unknown-exposure",
        patches=(
            Patch(
                file="execution/orders.py",
                old="            if r.remaining > 0\n",
                new="            if r.remaining > 0 and r.state is not OrderState.PENDING_UNKNOWN\n",
            ),
            Patch(
                file="execution/executor.py",
                old="            [*orders.live(), *orders.unaccounted()],\n",
                new="            [r for r in orders.live() if r.state is not OrderState.PENDING_UNKNOWN],\n",
            ),
        ),
        expected=("I4",),
    ),
)
"""What the campaign must notice, each within :data:`MOST_SEEDS` seeds."""

MOST_SEEDS = 50
